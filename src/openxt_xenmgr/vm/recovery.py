# SPDX-License-Identifier: GPL-2.0-or-later
"""Find back to the truth: after a restart of xenmgr, and after the death of a VM's monitor.

The monitor knows best, then Xen; what stands in XenStore is what was known before.
"""

import asyncio
import logging
from dataclasses import dataclass

from openxt_core.errors import OpenxtError
from openxt_core.ids import xenvm_name
from openxt_xen.domains import domid_of
from openxt_xenmgr.links.xenvm import START_TIMEOUT_S, XenvmClient
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.events import ShutdownReason, StateChanged
from openxt_xenmgr.vm.guest import GuestWatches
from openxt_xenmgr.vm.launch import gather_facts
from openxt_xenmgr.vm.lifecycle import Lifecycle
from openxt_xenmgr.vm.monitor import write_config
from openxt_xenmgr.vm.states import AT_REST, STARTING, State, reached
from openxt_xenmgr.vm.xenvm_config import config_lines
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

# Pauses before a dead monitor is started again.
BACK_OFF_S = (0.0, 0.5, 2.0, 5.0, 15.0)
QUESTIONS = 5


@dataclass(frozen=True)
class Recovery:
    world: World
    life: Lifecycle
    watches: GuestWatches

    def monitor_lost(self, vm: Vm) -> None:
        """A monitor left the bus.  What it watched over must not stay alone."""
        if not vm.is_leaving:
            self.world.background.spawn(f"recovery of VM {vm.uuid}", self._after_death(vm))

    def monitor_found(self, vm: Vm) -> None:
        """Somebody else has started a monitor."""
        self.world.background.spawn(f"new monitor of VM {vm.uuid}", self._adopt(vm))

    async def _adopt(self, vm: Vm) -> None:
        if await self.life.monitors.attach(vm):
            await self.reconcile(vm)
            await self.life.starter.firewall.settle()

    async def _after_death(self, vm: Vm) -> None:
        async with vm.operation:  # a start that is under way cleans up itself
            if vm.has_monitor or vm.state in AT_REST or vm.is_leaving:
                return
            log.error("the monitor of VM %s died in state %s: starting another", vm.uuid, vm.state)
            await self._bring_back(vm)

    async def _bring_back(self, vm: Vm) -> None:
        for pause_s in BACK_OFF_S:
            await asyncio.sleep(pause_s)
            try:
                await self._write_missing_config(vm)
                await self.life.monitors.spawn(vm)
                break
            except OpenxtError as error:
                log.warning("VM %s: %s", vm.uuid, error)
        else:
            log.error("VM %s stays without a monitor: its domain, if it lives, is on its own", vm.uuid)
            return
        await self._reconcile_locked(vm)

    async def _write_missing_config(self, vm: Vm) -> None:
        path = self.life.monitors.config_file(vm)
        if not path.exists():
            config = await self.world.store.config(vm)
            write_config(path, config_lines(config, await gather_facts(self.world, vm, config)))

    async def at_start(self, vm: Vm, names: frozenset[str], recorded: frozenset[str]) -> None:
        """Find out how a VM is: `names` are on the bus, `recorded` have a folder in XenStore.

        A start whose caller went away with the old xenmgr is carried to its end.
        """
        if vm.uuid in recorded:
            vm.state = await self.world.nodes.state(vm.uuid)
        has_monitor = xenvm_name(vm.uuid) in names
        if vm.state is State.REBOOTED:
            self._go_on_rebooting(vm)
        if not has_monitor and vm.state in AT_REST:
            return
        vm.is_hvm = (await self.world.store.config(vm)).is_hvm
        if vm.state not in STARTING:
            vm.reason = ShutdownReason.HALT
        async with vm.operation:
            if await self.life.monitors.attach(vm):
                await self._reconcile_locked(vm)
            elif await domid_of(self.world.nodes.xs, vm.uuid) is None:
                await self.life.queue.inject(vm, StateChanged(State.SHUTDOWN))
            else:
                log.warning("VM %s is %s, but has no monitor: starting one", vm.uuid, vm.state)
                await self._bring_back(vm)

    def _go_on_rebooting(self, vm: Vm) -> None:
        self.world.background.spawn(f"restart of VM {vm.uuid}", self.life.restart_after_reboot(vm))

    async def reconcile(self, vm: Vm) -> None:
        """Make our view that of the monitor."""
        async with vm.operation:
            await self._reconcile_locked(vm)

    async def _reconcile_locked(self, vm: Vm) -> None:
        xenvm = self.life.monitors.client(vm)
        vm.domid = await xenvm.domid()
        status = await self._agree(vm, xenvm)
        if status in STARTING:
            self.world.background.spawn(f"start of VM {vm.uuid}", self._finish_start(vm))
        elif vm.domid is not None:
            await self.watches.begin(vm)
            await self.world.nodes.export(await self.world.store.config(vm), vm.domid)

    async def _agree(self, vm: Vm, xenvm: XenvmClient) -> State:
        """What the monitor says is so for us too; asked again, for it may have changed while we noted it."""
        status = await xenvm.status()
        for _ in range(QUESTIONS):
            if status is vm.state:
                break
            log.info("VM %s is %s, not %s", vm.uuid, status, vm.state)
            await self.life.queue.inject(vm, StateChanged(status))
            status = await xenvm.status()
        return status

    async def _finish_start(self, vm: Vm) -> None:
        """Wait until the domain is built, then let it run; what cannot be finished is ended."""
        log.info("VM %s is left half started: finishing its start", vm.uuid)
        async with vm.operation:
            try:
                await vm.until(_is_built, START_TIMEOUT_S, "state created")
                if vm.state is State.CREATED:
                    await self.life.starter.finish(vm, await self.world.store.config(vm))
            except OpenxtError as error:
                log.error("VM %s cannot be finished (%s): ending it", vm.uuid, error)
                await self.life.monitors.client(vm).destroy()


def _is_built(state: State) -> bool:
    return reached(state, State.CREATED) or state in AT_REST
