# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs that a sleep of the host puts down, and how they are brought back.

Each is noted in XenStore before it is asked, until it is back: a xenmgr that dies meanwhile leaves no VM
asleep, as the next one finds the notes.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from openxt_core.errors import OpenxtError
from openxt_core.ids import Uuid
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.lifecycle import Lifecycle
from openxt_xenmgr.vm.sleeping import Sleeper
from openxt_xenmgr.vm.tree import parse_int
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

PUT_DOWN = "/xenmgr/pm-put-down"  # uuid → its number in the order
PUTTING_DOWN = frozenset({"s3suspend", "halt"})  # xenvm's tasks
OVER_WITHIN_S = 120.0
POLL_S = 0.1


@dataclass(frozen=True)
class Waking:
    world: World
    life: Lifecycle
    sleeper: Sleeper

    async def note(self, vms: Sequence[Vm]) -> None:
        """These are about to be put down."""
        first = len(await self.world.nodes.xs.list(PUT_DOWN))
        for number, vm in enumerate(vms, first):
            await self.world.nodes.xs.write(f"{PUT_DOWN}/{vm.uuid}", str(number))

    async def has_noted(self) -> bool:
        return bool(await self.world.nodes.xs.list(PUT_DOWN))

    async def bring_back(self) -> None:
        """All that are noted, in the order in which they went down."""
        xs = self.world.nodes.xs
        numbers = {
            name: parse_int(await xs.read(f"{PUT_DOWN}/{name}") or "") for name in await xs.list(PUT_DOWN)
        }
        for name in sorted(numbers, key=lambda name: numbers[name] or 0):
            vm = self.world.registry.find(Uuid(name))
            if vm is not None:
                await self._wake(vm)
            await xs.rm(f"{PUT_DOWN}/{name}")

    async def _wake(self, vm: Vm) -> None:
        """A failure is logged: the next VM must not stay asleep for it."""
        try:
            await self._until_down(vm)
            if vm.domid is None and (await self.world.store.config(vm))["s3-mode"] == "restart":
                await self.life.start(vm)
            elif not await self.sleeper.resume(vm):
                log.error("224:VM %s did not wake up", vm.uuid)
        except (OpenxtError, TimeoutError) as error:
            log.error("VM %s did not come back after the sleep: %s", vm.uuid, error)

    async def _until_down(self, vm: Vm) -> None:
        """What its monitor was asked goes on without whoever asked."""
        async with asyncio.timeout(OVER_WITHIN_S):
            while PUTTING_DOWN & set(await self.life.monitors.client(vm).under_way()):  # noqa: ASYNC110 - polled
                await asyncio.sleep(POLL_S)
        await self.life.queue.settled(vm)
