# SPDX-License-Identifier: GPL-2.0-or-later
"""Event of a VM → what follows from it, in a fixed order.

The state node and our own view change after the clean-up of an ended run; clients hear of it last.  One
failing reaction is logged and does not stop the next.
"""

import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import IoError, OpenxtError
from openxt_core.spec import Value
from openxt_xenmgr.host import hosts_file
from openxt_xenmgr.host.power import HostPower
from openxt_xenmgr.properties.config import setting
from openxt_xenmgr.properties.table import Change
from openxt_xenmgr.properties.vm_live import current_acpi_state
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm import discs
from openxt_xenmgr.vm.events import (
    ClockChanged,
    Event,
    GuestWrote,
    MeasurementFailed,
    PowerChanged,
    ShutdownReason,
    StateChanged,
    Written,
    in_words,
    reason_after,
)
from openxt_xenmgr.vm.guest import GuestWatches, note_addons, note_no_addons
from openxt_xenmgr.vm.lifecycle import Lifecycle
from openxt_xenmgr.vm.limited_hooks import run_soft
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.ovf import remove_iso
from openxt_xenmgr.vm.relocation import cut_off_clients
from openxt_xenmgr.vm.reports import Reports
from openxt_xenmgr.vm.states import ACPI_S3, ACPI_S4, AT_REST, State, public
from openxt_xenmgr.vm.tree import parse_int
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

HIBERNATED_WITHIN_S = 60.0
CONSOLE = "/dev/xvc0"
UPDATE_STATE_KEY = "/updatemgr/update-state"

ENDED = frozenset({State.SHUTDOWN, State.REBOOTED, State.SUSPENDED})
WITHOUT_DOMAIN = ENDED | {State.PRE_CREATE}
HOOKLESS = frozenset({State.CREATING_DOMAIN, State.CREATING_DEVICES, State.CREATED})


@dataclass(frozen=True)
class Reactor:
    world: World
    life: Lifecycle
    power: HostPower
    watches: GuestWatches
    reports: Reports

    async def react(self, vm: Vm, event: Event) -> None:
        """Everything that follows from one event.  A state that the VM has already is no event."""
        if isinstance(event, StateChanged) and event.state is vm.state:
            return
        for reaction in REACTIONS:
            try:
                await reaction(self, vm, event)
            except OpenxtError as error:
                log.warning("VM %s: %s after %s: %s", vm.uuid, reaction.__name__, event, error)
            except Exception:  # a dispatcher: the next reactions must not suffer
                log.exception("VM %s: %s after %s failed", vm.uuid, reaction.__name__, event)

    # In this order

    async def note(self, vm: Vm, event: Event) -> None:
        level = logging.DEBUG if isinstance(event, GuestWrote) else logging.INFO
        log.log(level, "VM %s: %s", vm.uuid, in_words(event))

    async def watch_guest(self, vm: Vm, event: Event) -> None:
        match event:
            case StateChanged(State.CREATED | State.RUNNING | State.PAUSED):
                await self.watches.begin(vm)
            case StateChanged(state) if state in ENDED:
                await self.watches.end(vm)

    async def heed_guest(self, vm: Vm, event: Event) -> None:
        match event:
            case GuestWrote(Written.ADDONS):
                await note_addons(self.world, vm)
            case GuestWrote(Written.UNINSTALLED):
                await note_no_addons(self.world, vm)
            case GuestWrote(Written.DISCS):
                await discs.tell_holders(self.world)

    async def set_clock(self, vm: Vm, event: Event) -> None:
        if isinstance(event, ClockChanged):
            offset = parse_int(event.guest_offset)
            if offset is not None:
                await self.world.store.change(vm, (Change("time-offset", str(offset)),))

    async def remember_reason(self, vm: Vm, event: Event) -> None:
        vm.reason = reason_after(event, vm.reason)
        if isinstance(event, PowerChanged):
            vm.guest_acpi = event.acpi

    async def answer_tampering(self, vm: Vm, event: Event) -> None:
        """What the host does about a measured VM that is not what it was: `measure-fail-action`."""
        if not isinstance(event, MeasurementFailed):
            return
        action = str(await setting(self.world, "measure-fail-action"))
        line = f"measurement of VM {vm.uuid} failed: {event.in_words()}; action: {action}"
        log.error("%s", line)
        _tell_console(self.world.places.at(CONSOLE), line)
        self.world.background.spawn(f"{action} after a failed measurement", self.power.perform(action))

    async def find_domain(self, vm: Vm, event: Event) -> None:
        if not isinstance(event, StateChanged):
            return
        if event.state in WITHOUT_DOMAIN:
            vm.domid = None
        elif vm.domid is None and event.state is not State.CREATING_DOMAIN:
            vm.domid = await self.life.monitors.client(vm).domid()

    async def close_firewall(self, vm: Vm, event: Event) -> None:
        """Nobody speaks to a domain that is gone: its number may be another's one day."""
        if isinstance(event, StateChanged) and event.state in ENDED:
            await self.life.starter.firewall.settle()

    async def free_clients(self, vm: Vm, event: Event) -> None:
        if event == StateChanged(State.SHUTDOWN):
            await cut_off_clients(self.world, vm)

    async def follow_life(self, vm: Vm, event: Event) -> None:
        match event:
            case StateChanged(State.RUNNING):
                await self._has_started(vm)
            case StateChanged(State.SHUTDOWN):
                await self._has_ended(vm)
            case StateChanged(State.REBOOTED):
                await self._has_rebooted(vm)
            case PowerChanged(acpi) if acpi == ACPI_S3:
                await self._wake_if_wanted(vm)
            case PowerChanged(acpi) if acpi == ACPI_S4:
                await self.world.store.change(vm, (Change("hibernated", "true"),), quiet=True)

    async def record_state(self, vm: Vm, event: Event) -> None:
        """A restart is recorded as rebooted until it begins, so that a restarted xenmgr goes on with it."""
        if isinstance(event, StateChanged) and not vm.is_leaving and not vm.is_restarting:
            await self.world.nodes.write_state(vm.uuid, event.state)

    async def enter_state(self, vm: Vm, event: Event) -> None:
        if isinstance(event, StateChanged):
            vm.enter(event.state)

    async def tell(self, vm: Vm, event: Event) -> None:
        if isinstance(event, ClockChanged | MeasurementFailed | GuestWrote) or vm.is_leaving:
            return
        acpi = event.acpi if isinstance(event, PowerChanged) else await self._acpi(vm)
        self.world.announcer.vm_state_changed(vm.uuid, public(vm.state), acpi)
        domid = -1 if vm.domid is None else vm.domid
        changed: dict[str, Value] = {"state": public(vm.state), "acpi-state": acpi, "domid": domid}
        self.world.announcer.vm_properties(vm.uuid, changed)

    async def link_power(self, vm: Vm, event: Event) -> None:
        """The host follows a VM that controls it, unless an update waits for its own restart."""
        match event:
            case PowerChanged(acpi) if acpi in (ACPI_S3, ACPI_S4):
                pass
            case StateChanged(State.SHUTDOWN) if vm.reason is ShutdownReason.POWEROFF:
                pass
            case _:
                return
        controls = await self._flag(vm, "control-platform-power-state")
        if not (controls or await self._flag(vm, "native-experience")):
            return
        if not await self.world.db.exists(UPDATE_STATE_KEY):
            self.world.background.spawn(f"host follows VM {vm.uuid}", self._follow(vm, event))

    async def _follow(self, vm: Vm, event: Event) -> None:
        match event:
            case PowerChanged(acpi) if acpi == ACPI_S4:
                await self.power.focus.remember(vm)
                await vm.until(lambda state: state in AT_REST, HIBERNATED_WITHIN_S, "its end")
                await self.power.perform("hibernate")
            case PowerChanged():
                await self.power.focus.remember(vm)
                await self.power.perform("sleep")
                await self.power.sleeper.resume(vm)
            case _:
                await self.power.perform("shutdown")

    async def run_hook(self, vm: Vm, event: Event) -> None:
        match event:
            case StateChanged(state) if state not in HOOKLESS:
                await self._soft_hook(vm, "run-on-state-change", public(state))
            case PowerChanged(acpi):
                await self._soft_hook(vm, "run-on-acpi-state-change", str(acpi))

    # The parts

    async def _acpi(self, vm: Vm) -> int:
        hibernated = vm.state is State.SHUTDOWN and await self._flag(vm, "hibernated")
        return await current_acpi_state(self.world, vm, hibernated=hibernated)

    async def _flag(self, vm: Vm, key: str) -> bool:
        return (await self.world.db.read(f"{vm.db}/{key}")).lower() in ("true", "yes", "1")

    async def _has_started(self, vm: Vm) -> None:
        if vm.domid is None:
            return
        config = await self.world.store.config(vm)
        await self.reports.has_started(vm, config)
        await self._update_hosts(vm, config)

    async def _has_ended(self, vm: Vm) -> None:
        old = await self.world.nodes.exported_domid(vm.uuid)
        config = await self.world.store.config_or_none_set(vm)
        await self.reports.has_ended(vm, config, old)
        remove_iso(self.world.places, vm.uuid)
        await self.world.nodes.unexport(vm.uuid)
        if vm.is_leaving:
            return
        await discs.tell_holders(self.world)
        await self._update_hosts(vm, config)
        if await self._flag(vm, "keep-alive"):
            self.world.background.spawn(f"keep-alive of VM {vm.uuid}", self.life.keep_alive(vm))

    async def _update_hosts(self, vm: Vm, config: VmConfig) -> None:
        """A running service VM is found by its name.  A file that cannot be written holds up nothing."""
        if config.is_user_vm or not await setting(self.world, "v4v-hosts-file"):
            return
        try:
            hosts_file.update(self.world.places.at("/etc/hosts"), config.name, vm.domid)
        except IoError as error:
            log.warning("VM %s: %s", vm.uuid, error)

    async def _has_rebooted(self, vm: Vm) -> None:
        self.world.background.spawn(f"restart of VM {vm.uuid}", self.life.restart_after_reboot(vm))

    async def _wake_if_wanted(self, vm: Vm) -> None:
        if await self._flag(vm, "auto-s3-wake"):
            await self.life.wake(vm)

    async def _soft_hook(self, vm: Vm, key: str, argument: str) -> None:
        hook = await self.world.db.read(f"{vm.db}/{key}")
        if hook:
            work = self._run_in_turn(vm, hook, argument)
            self.world.background.spawn(f"hook {key} of VM {vm.uuid}", work)

    async def _run_in_turn(self, vm: Vm, hook: str, argument: str) -> None:
        """After the hooks of earlier events, but not in the way of events: a hook may call us back."""
        async with vm.hooking:
            await run_soft(self.world, hook, vm.uuid, argument)


def _tell_console(console: Path, line: str) -> None:
    """Write a line to a console that may not be there, or not be read."""
    try:
        file = os.open(console, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(file, f"{line}\n".encode())
    except OSError as error:
        log.warning("%s: %s", console, error.strerror)
    finally:
        os.close(file)


Reaction = Callable[[Reactor, Vm, Event], Awaitable[None]]

REACTIONS: tuple[Reaction, ...] = (
    Reactor.note,
    Reactor.heed_guest,
    Reactor.set_clock,
    Reactor.remember_reason,
    Reactor.answer_tampering,
    Reactor.find_domain,
    Reactor.watch_guest,
    Reactor.free_clients,
    Reactor.close_firewall,
    Reactor.follow_life,
    Reactor.record_state,
    Reactor.enter_state,
    Reactor.link_power,
    Reactor.tell,
    Reactor.run_hook,
)
