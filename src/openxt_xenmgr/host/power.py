# SPDX-License-Identifier: GPL-2.0-or-later
"""The host goes to sleep, hibernates, shuts down, reboots: with all its VMs, each with a deadline.

One action at a time.  Who blocked is named: a host that goes down ends those VMs by force and says so in the
log; a sleep or hibernation is called off with an error, and those that slept already are woken.
Source of stages and order: OpenXT xenmgr, 2015.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from openxt_api.xenmgr_host import XenmgrHostSignals
from openxt_core.errors import HibernateFailed, IoError, NotSupported, OpenxtError, Refused, SleepTimeout
from openxt_xenmgr.host.sessions import end_sessions
from openxt_xenmgr.host.waking import Waking
from openxt_xenmgr.links.nodes import HOST_STATE, POWER_ACTION
from openxt_xenmgr.properties.host import public_state
from openxt_xenmgr.properties.table import Change
from openxt_xenmgr.properties.vm import HDX
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.autostart import HIBERNATED_KEY
from openxt_xenmgr.vm.focus import Focus, graphics_fallback
from openxt_xenmgr.vm.lifecycle import Lifecycle
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.preflight import IDLE
from openxt_xenmgr.vm.sleeping import Sleeper
from openxt_xenmgr.vm.tree import parse_int
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

# Action → the host's state meanwhile, and the program that it ends with.
STATES = {
    "shutdown": "shutting-down",
    "forced-shutdown": "shutting-down",
    "reboot": "rebooting",
    "sleep": "going-to-sleep",
    "hibernate": "going-to-hibernate",
}
PROGRAMS = {
    "shutdown": "/sbin/poweroff",
    "forced-shutdown": "/sbin/poweroff",
    "hibernate": "/sbin/poweroff",
    "reboot": "/sbin/reboot",
    "sleep": "/usr/share/xenclient/enter-s3.sh",
}
DEADLINE_KEY = "/xenmgr/vm-stop-deadline"  # seconds
DEADLINE_S = 180
FORCE_S = 60.0
GOING_DOWN_S = 360.0  # after that the host has not gone down, and VMs may start again

Named = tuple[Vm, VmConfig]
Deed = Callable[[Vm], Awaitable[object]]
PowerWork = Callable[["HostPower", Path], Awaitable[None]]


@dataclass(frozen=True)
class HostPower:
    world: World
    life: Lifecycle
    sleeper: Sleeper
    focus: Focus

    @property
    def waking(self) -> Waking:
        return Waking(self.world, self.life, self.sleeper)

    async def perform(self, action: str, *, remember: bool = False, supervised: bool = True) -> None:
        """Carry out an action; nothing happens for `nothing`, or while another one runs.

        `supervised`: somebody is there to read why it was called off.

        Raises NotSupported when the host has no program for it, before any VM is touched.
        """
        if action == "nothing":
            return
        if await self.world.nodes.xs.read(POWER_ACTION) is not None or await self._state() != IDLE:
            log.warning("host %s: another action runs", action)
            return
        program = self._program(action)
        if remember:
            await self.focus.remember()
        work = WORK[action] if supervised else UNSUPERVISED.get(action, WORK[action])
        await self._guarded(action, program, work)

    async def _guarded(self, action: str, program: Path, work: PowerWork) -> None:
        await self.world.nodes.xs.write(POWER_ACTION, action)
        await self._enter(STATES[action])
        try:
            await work(self, program)
        except BaseException:
            await self._enter(IDLE)
            raise
        finally:
            await self.world.nodes.xs.rm(POWER_ACTION)

    def _program(self, action: str) -> Path:
        program = self.world.places.at(PROGRAMS[action])
        if not program.exists():
            raise NotSupported(f"{action} of the host: there is no program {program}")
        return program

    async def _state(self) -> str:
        return await self.world.nodes.xs.read(HOST_STATE) or IDLE

    async def _enter(self, state: str) -> None:
        if await self._state() != state:
            await self.world.nodes.xs.write(HOST_STATE, state)
            XenmgrHostSignals(self.world.bus, "/host").state_changed(public_state(state))

    # Down

    async def _go_down(self, program: Path) -> None:
        await self.stop_all()
        await self._leave(program)

    async def _go_down_by_force(self, program: Path) -> None:
        await self.stop_all(forced=True)
        await self._leave(program)

    async def _leave(self, program: Path) -> None:
        """The host goes down by itself now; its state says so until it has, or has not."""
        await run_program(program)
        self.world.background.spawn("host going down", self._give_up_later())

    async def _give_up_later(self) -> None:
        await asyncio.sleep(GOING_DOWN_S)
        log.error("the host has not gone down within %g s", GOING_DOWN_S)
        await self._enter(IDLE)

    async def stop_for_init(self) -> None:
        """Stop all VMs because the host goes down anyway (SIGUSR2)."""
        await self._enter(STATES["shutdown"])
        await self.stop_all()

    async def stop_all(self, *, forced: bool = False) -> None:
        """End every running VM: high shutdown priority first, equals at the same time.  Always succeeds."""
        running = sorted(await self._running(), key=_priority, reverse=True)
        for _, stage in groupby(running, _priority):
            deed = self.life.destroy if forced else self._stop
            for vm, why in await self._each([vm for vm, _ in stage], deed):
                log.error("229:VM %s held up the host and is ended by force: %s", vm.uuid, why)
                await self._force(vm)

    async def _stop(self, vm: Vm) -> None:
        await self.sleeper.need_awake(vm)
        config = await self.world.store.config(vm)
        if config["gpu"] == HDX:
            await self.focus.switch(vm)
        await self.life.shutdown(vm)

    async def _force(self, vm: Vm) -> None:
        try:
            async with asyncio.timeout(FORCE_S):
                await self.life.destroy(vm)
        except (OpenxtError, TimeoutError) as error:
            log.error("VM %s cannot be ended: %s", vm.uuid, error)

    async def _running(self) -> list[Named]:
        found = [vm for vm in self.world.registry if vm.domid is not None and not vm.is_leaving]
        return [(vm, await self.world.store.config_or_none_set(vm)) for vm in found]

    async def _each(self, vms: Sequence[Vm], deed: Deed) -> list[tuple[Vm, str]]:
        """Do it to all at once, each with the deadline; those that failed, and why."""
        deadline_s = parse_int(await self.world.db.read(DEADLINE_KEY)) or DEADLINE_S
        outcomes = await asyncio.gather(*(_within(deadline_s, deed(vm)) for vm in vms))
        return [(vm, why) for vm, why in zip(vms, outcomes, strict=True) if why]

    # Sleep

    async def _go_to_sleep(self, program: Path) -> None:
        running = await self._running()
        had_card = any(config["gpu"] == HDX for _, config in running)
        try:
            for stage, deed in self._sleep_stages(running):
                awake = [vm for vm in stage if not await self.sleeper.is_asleep(vm)]
                await self.waking.note(awake)
                blocked = await self._each(awake, deed)
                if blocked:
                    raise SleepTimeout(_report("sleep", blocked))
            await self.world.input.lock_screen()
            await end_sessions(self.world.places)
            await self.world.surfman.before_sleep()
            await run_program(program)
            await self.world.surfman.after_sleep()
        finally:
            await self._enter(IDLE)
            await self.waking.bring_back()
        await self._show(had_card)

    async def take_up_sleep(self) -> None:
        """Bring back what a xenmgr that died had put down; no other action begins before that is done."""
        if await self.waking.has_noted():
            log.warning("a sleep of the host was cut short: bringing its VMs back")
            await self.world.nodes.xs.write(POWER_ACTION, "sleep")
            self.world.background.spawn("VMs back from a sleep", self._bring_back())

    async def _bring_back(self) -> None:
        try:
            await self.waking.bring_back()
        finally:
            await self.world.nodes.xs.rm(POWER_ACTION)

    def _sleep_stages(self, running: Sequence[Named]) -> list[tuple[list[Vm], Deed]]:
        """User VMs, those with the card last; then the VMs that are started anew afterwards."""
        sleepers = [(vm, config) for vm, config in running if config.is_user_vm and config["s3-mode"] == "pv"]
        refusing = [vm for vm, config in running if config.is_user_vm and config["s3-mode"] == "snapshot"]
        return [
            (refusing, _refuse_snapshot),
            ([vm for vm, config in sleepers if config["gpu"] != HDX], self.sleeper.sleep),
            ([vm for vm, config in sleepers if config["gpu"] == HDX], self._show_and_sleep),
            ([vm for vm, config in running if config["s3-mode"] == "restart"], self._stop),
        ]

    async def _show_and_sleep(self, vm: Vm) -> None:
        await self.focus.insist(vm)
        await self.sleeper.sleep(vm)

    async def _show(self, had_card: bool) -> None:
        """What was visible before, if it still runs; a VM with the card shows itself."""
        shown = await self.focus.take_remembered()
        vm = None if shown is None else self.world.registry.find(shown)
        if vm is None or vm.domid is None:
            vm = await graphics_fallback(self.world)
        if vm is not None and not had_card:
            await self.focus.switch(vm)

    # Hibernate

    async def _go_to_hibernate(self, program: Path) -> None:
        """Raises HibernateFailed (201) naming who did not."""
        if blocked := await self._hibernate_all():
            raise HibernateFailed(_report("hibernate", blocked))
        await self._go_down_hibernated(program)

    async def _hibernate_whatever_happens(self, program: Path) -> None:
        """Nobody looks, or the battery is empty: VMs that do not hibernate are shut down with the rest."""
        if blocked := await self._hibernate_all():
            log.error("201:%s; they are shut down", _report("hibernate", blocked))
        await self._go_down_hibernated(program)

    async def _go_down_hibernated(self, program: Path) -> None:
        await self.world.db.write(HIBERNATED_KEY, "true")
        await self._go_down(program)

    async def _hibernate_all(self) -> list[tuple[Vm, str]]:
        """User VMs, those with the card last; who did not, and why."""
        user = [(vm, config) for vm, config in await self._running() if config.is_user_vm]
        stages = (
            [vm for vm, config in user if config["gpu"] != HDX],
            [vm for vm, config in user if config["gpu"] == HDX],
        )
        for vm in stages[1][:1]:
            await self.focus.switch(vm)
        return [who for stage in stages for who in await self._each(stage, self._hibernate)]

    async def _hibernate(self, vm: Vm) -> None:
        mode = (await self.world.store.config(vm))["s4-mode"]
        if mode == "pv":
            await self.sleeper.hibernate(vm)
        elif mode == "restart":
            await self._stop(vm)
            await self.world.store.change(vm, (Change("hibernated", "true"),), quiet=True)
        elif mode == "snapshot":
            await _refuse_snapshot(vm)


WORK: dict[str, PowerWork] = {
    "shutdown": HostPower._go_down,
    "forced-shutdown": HostPower._go_down_by_force,
    "reboot": HostPower._go_down,
    "sleep": HostPower._go_to_sleep,
    "hibernate": HostPower._go_to_hibernate,
}
UNSUPERVISED: dict[str, PowerWork] = {"hibernate": HostPower._hibernate_whatever_happens}


def _priority(named: Named) -> int:
    return int(named[1]["shutdown-priority"])


def _report(what: str, blocked: Sequence[tuple[Vm, str]]) -> str:
    return f"the host cannot {what}: " + "; ".join(f"VM {vm.uuid}: {why}" for vm, why in blocked)


async def _refuse_snapshot(vm: Vm) -> None:
    raise NotSupported(f"VM {vm.uuid}: the mode snapshot is not built yet")


async def _within(deadline_s: float, work: Awaitable[object]) -> str:
    """What went wrong; empty when nothing did."""
    try:
        async with asyncio.timeout(deadline_s):
            await work
    except TimeoutError:
        return f"not done within {deadline_s:g} s"
    except OpenxtError as error:
        return error.text
    return ""


async def run_program(program: Path) -> None:
    """Raises IoError (223) when it cannot be run, Refused when it fails."""
    try:
        process = await asyncio.create_subprocess_exec(program, stdin=asyncio.subprocess.DEVNULL)
    except OSError as error:
        raise IoError(f"IO error: {program}: {error.strerror}") from error
    if await process.wait():
        raise Refused(f"{program} failed with exit status {process.returncode}")
