# SPDX-License-Identifier: GPL-2.0-or-later
"""Edits of the database by others, such as db-write by hand: heard from dbd, and announced like our own."""

import asyncio
import logging
from collections import deque

from openxt_bus.matching import Match, Signal
from openxt_core.errors import BadRequest, OpenxtError
from openxt_core.ids import DBD_NAME
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

WATCH = f"{DBD_NAME}.watch"


class Outside:
    """Follows the configuration of the known VMs; one removed by hand is gone from the bus as well."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._due: dict[Vm, list[str]] = {}
        self._order: deque[Vm] = deque()
        self._is_working = False

    async def follow(self) -> None:
        """Hear of edits from now on."""
        match = Match(WATCH, "changed", sender=DBD_NAME, arg0path="/vm/")
        await self._world.bus.subscribe(match, self._heard)

    def _heard(self, signal: Signal) -> None:
        path, _, writer = signal.body
        if writer == self._world.bus.unique_name:
            return
        for vm in self._concerned(path):
            if vm not in self._due:
                self._order.append(vm)
            keys = self._due.setdefault(vm, [])
            keys.append(path.removeprefix(vm.db).strip("/") if path.startswith(vm.db) else "")
        if self._order and not self._is_working:
            self._is_working = True
            self._world.background.spawn("edits by others", self._work())

    def _concerned(self, path: str) -> list[Vm]:
        names = [name for name in path.split("/") if name]
        if len(names) < 2:
            return [vm for vm in self._world.registry if not vm.is_leaving]
        vm = self._world.registry.find(names[1])
        return [] if vm is None or vm.is_leaving else [vm]

    async def _work(self) -> None:
        try:
            while self._order:
                vm = self._order.popleft()
                await self._announce(vm, self._due.pop(vm))
        finally:
            self._is_working = False

    async def _announce(self, vm: Vm, keys: list[str]) -> None:
        try:
            await self._world.store.announce_outside(vm, keys)
        except BadRequest:
            log.warning("VM %s was removed from the database by somebody else", vm.uuid)
        except OpenxtError as error:
            log.warning("VM %s: an edit by somebody else is not announced: %s", vm.uuid, error)
        await asyncio.sleep(0)  # calls are answered between many
