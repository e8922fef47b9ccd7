# SPDX-License-Identifier: GPL-2.0-or-later
"""Start, stop, reboot, pause VMs: one operation a function.

Starts, restarts and deletion of a VM exclude each other.  A shutdown waits for a start that is under way;
`destroy` waits for nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from openxt_core.errors import BadRequest, OpenxtError, Refused, Unavailable, VmBadState
from openxt_core.ids import Uuid, underscored
from openxt_xenmgr.links.xenvm import START_TIMEOUT_S, MonitorGone, XenvmClient
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.backends import dependencies
from openxt_xenmgr.vm.checks import situation
from openxt_xenmgr.vm.events import ShutdownReason, StateChanged
from openxt_xenmgr.vm.launch import gather_facts
from openxt_xenmgr.vm.limited_hooks import run_hard
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.monitor import Monitors
from openxt_xenmgr.vm.preflight import Situation, need_none, of_needed, reasons
from openxt_xenmgr.vm.queue import EventQueue
from openxt_xenmgr.vm.start import Starter
from openxt_xenmgr.vm.states import ACPI_S3, AT_REST, STARTING, State
from openxt_xenmgr.vm.xenvm_config import config_lines
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

T = TypeVar("T")

GUEST = "com.citrix.xenclient.guest"
KEEP_ALIVE_DELAY_S = 2.0
REPLACED_TIMEOUT_S = 20.0
DEATHS_SURVIVED = 3

# A VM in these states may well be without a monitor.
MONITORLESS = AT_REST | {State.PRE_CREATE}


@dataclass(frozen=True)
class Lifecycle:
    world: World
    queue: EventQueue
    monitors: Monitors
    starter: Starter

    # Start

    async def start(self, vm: Vm) -> None:
        """Start with everything it needs; a running VM is left alone.

        Returns when the VM has been unpaused, or its run-insteadof-start hook has ended.
        """
        config = await self.world.store.config(vm)
        if await self.surviving(vm, self.is_running) and await self._comes_up(vm):
            log.info("VM %s is running already", vm.uuid)
            return
        hook = config["run-insteadof-start"]
        if hook:
            await run_hard(self.world, hook, vm.uuid)
            return
        await self._start_with_needed(vm, config)

    @staticmethod
    async def _comes_up(vm: Vm) -> bool:
        """Wait for a start that others asked for, also of the xenmgr before us.  False: it failed."""
        if vm.state not in STARTING:
            return True
        await vm.until(lambda state: state not in STARTING, START_TIMEOUT_S, "the end of its start")
        return vm.state not in AT_REST

    async def start_internal(self, vm: Vm) -> None:
        """Start, whatever hook stands in the way."""
        await self._start_with_needed(vm, await self.world.store.config(vm))

    async def _start_with_needed(self, vm: Vm, config: VmConfig) -> None:
        """Nothing that it needs is started when its own start would fail in the end."""
        if needed := await self._needed(config):
            expected = frozenset(other.uuid for other in needed)
            need_none(reasons(config, await situation(self.world, vm, config, expected)))
            await self._start_needed(config, needed)
        await self.surviving(vm, self._start_if_stopped)

    async def _needed(self, config: VmConfig) -> list[Vm]:
        """What is to be started before it, deepest first."""
        if not config["track-dependencies"]:
            return []
        return [self.world.registry.need(uuid) for uuid in await dependencies(self.world, config)]

    async def _start_needed(self, config: VmConfig, needed: list[Vm]) -> None:
        for other in needed:
            if not await self.is_running(other):
                log.info("VM %s needs VM %s: starting it", config.uuid, other.uuid)
                await self._start_for_others(other)
        still = [other.uuid for other in needed if not await self.is_running(other)]
        if still:
            need_none(reasons(config, Situation(not_running=still)))

    async def _start_for_others(self, vm: Vm) -> None:
        """An error names the VM: those who hear it have asked for another one."""
        try:
            await self.start(vm)
        except OpenxtError as error:
            raise of_needed(await self.world.store.config_or_none_set(vm), error) from error

    async def why_not_start(self, vm: Vm) -> list[str]:
        """What would make a start fail now, with what would make those fail that it needs."""
        if await self.surviving(vm, self.is_running):
            return [f"VM {vm.uuid} runs already"]
        config = await self.world.store.config(vm)
        try:
            needed = await self._needed(config)
        except BadRequest as circle:
            return [circle.text]
        expected = frozenset(other.uuid for other in needed)
        found = [why.text for why in reasons(config, await situation(self.world, vm, config, expected))]
        for other in needed:
            if not await self.surviving(other, self.is_running):
                found += await self._why_not_needed(other, expected)
        return found

    async def _why_not_needed(self, vm: Vm, expected: frozenset[Uuid]) -> list[str]:
        config = await self.world.store.config(vm)
        found = reasons(config, await situation(self.world, vm, config, expected))
        return [of_needed(config, why).text for why in found]

    async def _start_if_stopped(self, vm: Vm) -> None:
        async with vm.operation:
            await self._start_if_stopped_locked(vm)

    async def _start_if_stopped_locked(self, vm: Vm) -> None:
        if vm.is_leaving:
            raise BadRequest(f"VM {vm.uuid} is being deleted")
        if not await self.is_running(vm):
            try:
                await self.starter.start(vm, *await self.world.store.config_at_revision(vm))
            except MonitorGone as error:  # it was undone: not to be tried again unasked
                raise Unavailable(f"the start failed: {error}") from error

    async def is_running(self, vm: Vm) -> bool:
        """Asks its monitor: a VM that is being made, or paused, or asleep in memory, runs.

        Raises MonitorGone for a VM that ran when its monitor died, until that is replaced.
        """
        if await self.monitors.attach(vm):
            return await self.monitors.client(vm).status() not in AT_REST
        if vm.state in MONITORLESS:
            return False
        raise MonitorGone(f"the monitor of VM {vm.uuid}, which is {vm.state}, died and is not back yet")

    async def surviving(self, vm: Vm, work: Callable[[Vm], Awaitable[T]]) -> T:
        """Do what can be done twice; when the monitor dies under it, again with its successor.

        Not to be called with the VM's operation lock held: who replaces a monitor needs it.
        """
        for _ in range(DEATHS_SURVIVED):
            await self._until_monitored(vm)
            with contextlib.suppress(MonitorGone):
                return await work(vm)
        await self._until_monitored(vm)
        return await work(vm)

    async def _until_monitored(self, vm: Vm) -> None:
        if not await self.monitors.attach(vm):
            await vm.until(
                lambda state: vm.has_monitor or state in MONITORLESS, REPLACED_TIMEOUT_S, "a new monitor"
            )

    # Stop

    async def shutdown(self, vm: Vm) -> None:
        """Have the guest shut down; returns when it is gone.  Nothing happens without a monitor."""
        async with vm.operation:
            pass  # a start under way is let come to its end
        await self.surviving(vm, self._shutdown)

    async def _shutdown(self, vm: Vm) -> None:
        if not vm.has_monitor:
            log.warning("VM %s has no monitor: nothing to shut down", vm.uuid)
            return
        xenvm = self.monitors.client(vm)
        await self._wake_up(vm, xenvm)
        if await self.ask_agent(vm, "request_shutdown") and await self._ends(vm):
            return
        if await self.is_running(vm):
            await xenvm.halt()
        await self.queue.settled(vm)

    async def _wake_up(self, vm: Vm, xenvm: XenvmClient) -> None:
        """A sleeping guest cannot shut down."""
        if vm.is_hvm and await xenvm.acpi_state() == ACPI_S3:
            await xenvm.wake()

    async def ask_agent(self, vm: Vm, request: str) -> bool:
        """Ask the agent inside the guest; False when there is none or it refuses."""
        name = f"{GUEST}.uuid_{underscored(vm.uuid)}"
        if await self.world.bus.name_owner(name) is None:
            return False
        try:
            await self.world.bus.call(
                name, "/", GUEST, request, timeout_s=self.world.deadlines.agent_answer_s
            )
        except OpenxtError as error:
            log.warning("VM %s: its agent: %s", vm.uuid, error)
            return False
        return True

    async def _ends(self, vm: Vm) -> bool:
        try:
            await vm.until(lambda state: state in AT_REST, self.world.deadlines.agent_s, "its end")
        except OpenxtError as error:
            log.warning("VM %s: the agent did not shut it down: %s", vm.uuid, error)
            return False
        return True

    async def destroy(self, vm: Vm) -> None:
        """End the domain at once, whatever goes on.  Nothing happens without a monitor."""
        await self.surviving(vm, self._destroy)

    async def _destroy(self, vm: Vm) -> None:
        if not vm.has_monitor:
            log.warning("VM %s has no monitor: nothing to destroy", vm.uuid)
            return
        vm.abandon(Refused(f"VM {vm.uuid} was destroyed meanwhile"))
        await self.monitors.client(vm).destroy()
        await self.queue.settled(vm)

    # Reboot, pause

    async def reboot(self, vm: Vm) -> None:
        """Have the guest reboot, with its configuration as it is now, once it has started."""
        await self._comes_up(vm)
        xenvm = await self.surviving(vm, self.need_running)
        config = await self.world.store.config(vm)
        lines = config_lines(config, await gather_facts(self.world, vm, config))
        await self.monitors.bring_up(vm, lines)
        if not await self.ask_agent(vm, "request_reboot"):
            await xenvm.reboot()

    async def pause(self, vm: Vm) -> None:
        await self.surviving(vm, self._pause)

    async def _pause(self, vm: Vm) -> None:
        await (await self.need_running(vm)).pause()
        await self.queue.settled(vm)

    async def unpause(self, vm: Vm) -> None:
        await self.surviving(vm, self._unpause)

    async def _unpause(self, vm: Vm) -> None:
        await (await self.need_running(vm)).unpause()
        await self.queue.settled(vm)

    async def need_running(self, vm: Vm) -> XenvmClient:
        """Its monitor.  Raises VmBadState (102) for a VM that does not run."""
        if not await self.is_running(vm):
            raise VmBadState(f"VM {vm.uuid} does not run")
        return self.monitors.client(vm)

    # What follows from events; run in the background

    async def restart_after_reboot(self, vm: Vm) -> None:
        """Begin a new run once the old one is cleaned up completely; not if it shall stay as it is."""
        await self.queue.settled(vm)  # it is called from the middle of the event
        async with vm.operation:
            config = await self.world.store.config(vm)
            if config["preserve-on-reboot"] or vm.state is not State.REBOOTED:
                return
            vm.is_restarting = True
            try:
                await self._clean_up(vm)
            finally:
                vm.is_restarting = False
            await self._start_if_stopped_locked(vm)

    async def _clean_up(self, vm: Vm) -> None:
        try:
            await self.monitors.client(vm).destroy()
            await self.queue.settled(vm)
        except MonitorGone:  # its domain had ended before
            await self.queue.inject(vm, StateChanged(State.SHUTDOWN))

    async def keep_alive(self, vm: Vm) -> None:
        """Start a VM again that shall always run; not one whose start failed, or that was deleted."""
        if vm.reason is ShutdownReason.CREATION_FAILURE or vm.is_restarting or vm.is_leaving:
            return
        await asyncio.sleep(KEEP_ALIVE_DELAY_S)
        if not vm.is_leaving and vm.state is State.SHUTDOWN:
            await self.start(vm)

    async def wake(self, vm: Vm) -> None:
        await self.monitors.client(vm).wake()
