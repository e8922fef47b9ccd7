# SPDX-License-Identifier: GPL-2.0-or-later
"""Start, stop, shut down, reboot, pause: the sequences of one VM's life.

Who calls holds the VM's lock for the whole sequence.  Each keeps the record true as it goes, so that the
next monitor can finish or undo what this one leaves half done.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from openxt_core.errors import NotSupported, OpenxtError
from openxt_core.ids import Domid
from openxt_xen.hypervisor import DomainInfo, PhysInfo, ShutdownReason
from openxt_xenvm import executor, preflight
from openxt_xenvm.asking import Asking
from openxt_xenvm.config.model import DomainConfig, StartupMode
from openxt_xenvm.config.nics import on_bridges
from openxt_xenvm.dm import qemu
from openxt_xenvm.domain import build, memory
from openxt_xenvm.domain.hardware import Hardware
from openxt_xenvm.errors import (
    DomainStuckDying,
    InvalidConfig,
    NotEnoughFreeMemory,
    RequiresMoreCapabilities,
    VmBadState,
    VmDidntShutdown,
    VmIsAlreadyCreated,
    VmShutdownWrongReason,
)
from openxt_xenvm.events import DomainWatch, watched_nodes
from openxt_xenvm.fate import Fate
from openxt_xenvm.plan.start import plan_start
from openxt_xenvm.plan.stop import is_ours
from openxt_xenvm.record import START_AGAIN, Operation
from openxt_xenvm.saved.header import Machine
from openxt_xenvm.site import Host, Site
from openxt_xenvm.state import ALIVE, Event, VmState, may
from openxt_xenvm.vm import Vm

log = logging.getLogger(__name__)

ACCEPTED_FATES = {
    ShutdownReason.POWEROFF: frozenset({Fate.HALTED, Fate.VANISHED}),
    ShutdownReason.REBOOT: frozenset({Fate.REBOOTED, Fate.HALTED, Fate.VANISHED}),
}
"""How a domain may end that was asked to."""


@dataclass
class Lifecycle:
    vm: Vm
    host: Host
    watch: DomainWatch
    asking: Asking = field(init=False)
    is_stopping: bool = False  # there is no way back
    _began_at_s: float = -math.inf
    _hardware: Hardware | None = None  # of the start that is under way

    def __post_init__(self) -> None:
        self.asking = Asking(self.host, self.watch)

    # Start

    async def start(
        self,
        *,
        paused: bool,
        begin_with: Event = Event.STARTED,
        saved: Machine | None = None,
        operation: Operation | None = None,
    ) -> None:
        """Up to running, or created when `paused`.  A failed or cancelled one leaves nothing.

        `saved` describes the guest in the file that `operation` names; it goes on instead of booting.
        """
        vm = self.vm
        try:
            await self._prepare(begin_with, saved)
        except BaseException:
            if may(vm.state, Event.NOT_STARTED):
                vm.move(Event.NOT_STARTED)
            raise
        paused = paused or vm.active.startup.mode is StartupMode.PAUSED
        vm.begin(operation or Operation("start", paused=paused))
        try:
            await self._build(begin_with, paused, operation.file if operation else "")
        finally:
            vm.end()

    async def _prepare(self, begin_with: Event, saved: Machine | None) -> None:
        vm = self.vm
        others = await self._refuse_second_domain(begin_with)
        vm.activate_pending()
        if saved is not None:
            vm.pending = vm.active  # for the next start: what the saved guest decides, it decides for itself
            vm.active = as_saved(vm.active, saved)
        bridges = await self.host.xen(self.host.keeper.bridges) if vm.active.nic else ()
        vm.active = config = replace(vm.active, nic=on_bridges(vm.active.nic, bridges))
        if missing := list(build.not_built_yet(config)):
            raise NotSupported(f"{', '.join(missing)}: not built yet")
        found = await preflight.look(config, self.site(), others, bridges, is_saved=saved is not None)
        if found.blockers:
            raise InvalidConfig("; ".join(found.blockers))
        self._hardware = found.hardware
        assert found.host is not None
        if lacking := build.missing_capabilities(config, found.host):
            raise RequiresMoreCapabilities(f"config requires {', '.join(lacking)}")
        for key in (*build.without_effect(config), *qemu.without_effect(config)):
            log.warning("%s has no effect on this host", key)
        if not config.no_mem_check:
            await self._wait_for_memory(memory.required_to_boot_kib(config), found.host)

    async def _refuse_second_domain(self, begin_with: Event) -> Sequence[DomainInfo]:
        """All domains there are.  Raises VmIsAlreadyCreated.

        One that vanished just now, before anybody heard of it, is cleaned up and its end told first.
        """
        domains = await self.host.xen(self.host.hypervisor.domains)
        if any(info.uuid == self.vm.uuid and not info.dying for info in domains):
            raise VmIsAlreadyCreated
        if self.vm.has_remains:
            await self._stop()
            domains = await self.host.xen(self.host.hypervisor.domains)
        if self.vm.domid is None and not may(self.vm.state, begin_with):
            self.vm.conclude(Event.DESTROYED)
        return domains

    async def _wait_for_memory(self, needed_kib: int, info: PhysInfo) -> None:
        """While Xen scrubs what others gave back, more may come."""
        settings = self.host.settings
        try:
            async with asyncio.timeout(settings.free_memory_s):
                while info.free_kib < needed_kib and info.scrub_kib > 0:
                    await asyncio.sleep(settings.free_memory_poll_s)
                    info = await self.host.xen(self.host.hypervisor.physinfo)
        except TimeoutError:
            log.info("memory is still being scrubbed")
        if info.free_kib < needed_kib:
            raise NotEnoughFreeMemory(f"{needed_kib} KiB needed, {info.free_kib} KiB free")

    async def _build(self, begin_with: Event, paused: bool, saved: str) -> None:
        vm = self.vm
        vm.move(begin_with)
        site = self.site()
        try:
            await executor.run(plan_start(vm.active, vm.uuid, self._hardware, saved), site)
            await self.follow(site.created)
            self._began_at_s = time.monotonic()
            if not paused:
                await self._unpause_built()
        except BaseException:
            await self._after_failed_start(site)
            raise

    async def _after_failed_start(self, site: Site) -> None:
        """The plan is undone; the domain is forgotten unless Xen still has it."""
        try:
            await executor.uninterrupted(self._stop_site(site))
        except OpenxtError as error:
            log.error("domain %s is left behind: %s", site.domid, error)
        if self.vm.state is not VmState.SHUTDOWN:
            self.vm.conclude(Event.DESTROYED)

    def lived_s(self) -> float:
        """Since this monitor started it; very long when an earlier one did."""
        return time.monotonic() - self._began_at_s

    async def _unpause_built(self) -> None:
        try:
            await self.unpause()
        except OpenxtError as error:
            log.error("the domain stays paused: %s", error)

    async def follow(self, domid: Domid) -> None:
        """From now on the domain's end and its watched nodes are told."""
        config = self.vm.active
        nodes = watched_nodes(domid, self.vm.uuid, config.extra_local_watch, config.extra_vm_watch)
        await self.watch.follow(domid, nodes)

    # Pause

    async def pause(self) -> None:
        await self._set_paused(Event.PAUSED, self.host.hypervisor.pause, paused=True)

    async def unpause(self) -> None:
        await self._set_paused(Event.UNPAUSED, self.host.hypervisor.unpause, paused=False)

    async def _set_paused(self, event: Event, call: Callable[[Domid], None], *, paused: bool) -> None:
        """Xen counts pauses; here a second one changes nothing, and a lost answer can be asked for again."""
        domid = self._domid(event)
        info = await self.host.xen(self.host.hypervisor.info, domid)
        if info is None or info.paused is not paused:
            await self.host.xen(call, domid)
        self.vm.move(event)

    def _domid(self, event: Event) -> Domid:
        """Of the domain to which `event` can happen now.  Raises VmBadState."""
        if self.vm.domid is None or not may(self.vm.state, event):
            raise VmBadState(f"{event.value} is not possible in state {self.vm.state}")
        return self.vm.domid

    # Stop

    async def destroy(self) -> None:
        """Also when there is nothing: the state is told again then."""
        self.vm.begin(Operation("destroy"))
        try:
            await self._stop()
            self.vm.conclude(Event.DESTROYED)
        finally:
            self.vm.end()

    async def halt(self, *, forced: bool) -> None:
        self._check_alive(forced)
        self.vm.begin(Operation("halt", forced=forced))
        try:
            await self._shut_down(ShutdownReason.POWEROFF, forced)
            await self._stop()
            self.vm.conclude(Event.DESTROYED)
        finally:
            self.vm.end()

    async def reboot(self, *, forced: bool, auto_start: bool) -> None:
        self._check_alive(forced)
        self.vm.begin(Operation("reboot", forced=forced, auto_start=auto_start))
        try:
            await self._shut_down(ShutdownReason.REBOOT, forced)
            self.vm.move(Event.ENDED_FOR_REBOOT)
            await self._stop()
            if auto_start:
                await self.start(paused=False, operation=START_AGAIN)
            else:
                self.vm.conclude(Event.REBOOT_STOPPED)
        finally:
            self.vm.end()

    def _check_alive(self, forced: bool) -> None:
        state = self.vm.state
        can_hear = state in (VmState.RUNNING, VmState.SHUTTING_DOWN)
        if self.vm.domid is None or not (can_hear or (forced and state in ALIVE)):
            raise VmBadState(f"a shutdown is not possible in state {state}")

    async def _shut_down(self, reason: ShutdownReason, forced: bool) -> None:
        """Until the domain has shut down for an acceptable reason; one that ended otherwise is destroyed."""
        domid, vm = self.vm.domid, self.vm
        assert domid is not None
        if forced or vm.state is not VmState.SHUTTING_DOWN:  # one that was given up may have been heard
            await self._request(domid, reason, forced)
        if vm.state is not VmState.SHUTTING_DOWN:
            vm.move(Event.SHUTDOWN_ACKNOWLEDGED)
        try:
            async with asyncio.timeout(self.host.settings.shutdown_s):
                fate = await asyncio.shield(self.watch.fate)
        except TimeoutError:
            vm.move(Event.SHUTDOWN_GIVEN_UP)
            raise VmDidntShutdown(f"after {self.host.settings.shutdown_s:.0f} s") from None
        if fate not in ACCEPTED_FATES[reason]:
            await self._stop()
            vm.conclude(Event.DESTROYED)
            raise VmShutdownWrongReason(fate)

    async def _request(self, domid: Domid, reason: ShutdownReason, forced: bool) -> None:
        if forced:
            await self.host.xen(self.host.hypervisor.shutdown, domid, reason)
        else:
            await self.asking.end(domid, self.vm.active.kind, reason)

    async def stop(self) -> None:
        """The domain and all it had are gone; the state is the caller's to move."""
        await self._stop()

    async def _stop(self) -> None:
        self.is_stopping = True
        try:
            await executor.uninterrupted(self._stop_site(self.site()))
        finally:
            self.is_stopping = False

    async def _stop_site(self, site: Site) -> None:
        """A domain that is gone is gone: what could not be given back is tried again at the next one."""
        await self.watch.forget()
        try:
            if self.vm.has_remains:
                await executor.stop(site)
        except OpenxtError as error:
            if isinstance(error, DomainStuckDying):
                self.vm.forget_domain()  # nothing is left of it that we could still do something about
            await self._look_again(site)
            if self.vm.domid is None:
                self.vm.conclude(Event.DESTROYED)
            raise
        await self._look_again(site)

    async def _look_again(self, site: Site) -> None:
        """Forget the domain, unless it still lives: then it must go on being followed."""
        if site.domid is None or not await is_ours(site, site.domid):
            self.vm.forget_domain()
        elif self.vm.domid is not None:
            await self.follow(site.domid)

    def site(self) -> Site:
        """The domain as it is now, for steps to work on."""
        vm = self.vm
        return Site(
            self.host,
            vm.uuid,
            vm.move,
            vm.learn_domid,
            vm.domid,
            backends=vm.backends,
            attached=vm.attached,
            stubdom=vm.stubdom,
            learn_stubdom=vm.learn_stubdom,
            given=tuple(device.address for device in vm.active.pci),
            save=vm.save,
            progress=vm.progress,
        )


def as_saved(config: DomainConfig, saved: Machine) -> DomainConfig:
    """The config of a guest that has found its machine long ago."""
    return replace(
        config,
        virt_type=saved.kind,
        vcpus=saved.vcpus,
        memory_kib=saved.memory_kib,
        memory_max_kib=saved.static_max_kib,
    )
