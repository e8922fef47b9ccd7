# SPDX-License-Identifier: GPL-2.0-or-later
"""Face of a VM: what stands between it and its start, what it needs, who needs it."""

from collections.abc import Awaitable, Sequence
from typing import Any

from openxt_api.xenmgr_vm_why import XenmgrVmWhy
from openxt_core.ids import vm_path
from openxt_core.spec import Call
from openxt_xenmgr.objects.vm import found_vm
from openxt_xenmgr.objects.work import Work
from openxt_xenmgr.vm import needs
from openxt_xenmgr.vm.backends import dependencies
from openxt_xenmgr.vm.graph import NEEDED_KEY
from openxt_xenmgr.vm.tree import items


class WhyObject(XenmgrVmWhy):
    """com.citrix.xenclient.xenmgr.vm.why."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work
        self._vm = found_vm(work, call)

    def why_not_start(self) -> Awaitable[list[str]]:
        return self._work.life.why_not_start(self._vm)

    async def changed_since_start(self) -> list[Sequence[Any]]:
        return list(await needs.changed_since_start(self._work.world, self._vm))

    async def stop_order(self) -> list[str]:
        return [vm_path(uuid) for uuid in await needs.stop_order(self._work.world, self._vm)]

    async def list_dependencies(self) -> list[str]:
        config = await self._work.world.store.config(self._vm)
        return [vm_path(uuid) for uuid in await dependencies(self._work.world, config)]

    async def list_needed(self) -> list[str]:
        return list(items(await self._work.world.store.tree(self._vm), NEEDED_KEY))

    def add_needed(self, uuid: str) -> Awaitable[None]:
        return needs.add_needed(self._work.world, self._vm, uuid)

    def remove_needed(self, uuid: str) -> Awaitable[None]:
        return needs.remove_needed(self._work.world, self._vm, uuid)
