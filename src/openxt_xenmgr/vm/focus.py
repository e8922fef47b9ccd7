# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VM is on the screen, and the memory of it across a sleep or a restart of the host."""

import asyncio
import contextlib
from dataclasses import dataclass

from openxt_core.errors import BadRequest
from openxt_core.ids import Uuid, parse_uuid
from openxt_xen.xenstore import paths
from openxt_xenmgr.links.input import NAME as INPUT
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.world import World

VISIBLE_KEY = "/xenmgr/pm-visible-vm"
READY_TIMEOUT_S = 10.0
INSISTENCE_S = 10.0
PAUSE_S = 0.2


async def graphics_fallback(world: World) -> Vm | None:
    """The running VM that is shown when nothing better is."""
    for vm in world.registry:
        config = await world.store.config_or_none_set(vm)
        if vm.domid is not None and config["provides-graphics-fallback"]:
            return vm
    return None


@dataclass(frozen=True)
class Focus:
    """Nothing happens, and nothing is waited for, where there is no input daemon."""

    world: World

    async def switch(self, vm: Vm) -> bool:
        """Bring a running VM to the screen; False when that did not work."""
        if vm.domid is None or not self.world.peers.has(INPUT):
            return False
        with contextlib.suppress(TimeoutError):  # guests without a switcher never say so
            ready = f"{paths.domain(vm.domid)}/switcher/ready"
            await self.world.nodes.xs.wait_until(ready, lambda value: value == "true", READY_TIMEOUT_S)
        return await self.world.input.switch_focus(vm.domid)

    async def insist(self, vm: Vm) -> bool:
        """Switch, again and again for a while: a VM with the graphics card must be seen before it sleeps."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(INSISTENCE_S):
                while self.world.peers.has(INPUT) and vm.domid is not None:
                    if await self.world.input.switch_focus(vm.domid):
                        return True
                    await asyncio.sleep(PAUSE_S)
        return False

    async def remember(self, vm: Vm | None = None) -> None:
        """Keep which VM is visible, or `vm`, for after the sleep."""
        shown = vm or await self._visible()
        if shown is not None:
            await self.world.db.write(VISIBLE_KEY, shown.uuid)

    async def _visible(self) -> Vm | None:
        domids = await self.world.surfman.visible_domids()
        return next(filter(None, map(self.world.registry.of_domid, domids)), None)

    async def take_remembered(self) -> Uuid | None:
        """What `remember` kept, once."""
        stored = await self.world.db.read(VISIBLE_KEY)
        if not stored:
            return None
        await self.world.db.rm(VISIBLE_KEY)
        try:
            return parse_uuid(stored)
        except BadRequest:
            return None
