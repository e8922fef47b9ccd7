# SPDX-License-Identifier: GPL-2.0-or-later
"""Take memory from running VMs to make room for one that starts.

Each VM may be made as small as its memory-min, the one that runs longest first; nothing is given back when
the new one has started, and everything when there is no room after all.  What a guest does not let go is not
counted on twice.  Source: OpenXT xenmgr, 2015.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from openxt_core.errors import NotEnoughMemory
from openxt_core.ids import Domid
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

KIB_PER_MIB = 1024
ROUNDS = 5
PAUSE_S = 1.0  # between rounds
POLL_S, POLLS = 0.1, 10  # for memory that guests let go


@dataclass(frozen=True, slots=True)
class Ballooned:
    """A running VM's memory, in KiB: what it is asked to hold, and what it must keep."""

    domid: Domid
    target_kib: int
    least_kib: int

    @property
    def spare_kib(self) -> int:
        return max(0, self.target_kib - (self.least_kib or self.target_kib))


def new_targets(missing_kib: int, others: Iterable[Ballooned]) -> Mapping[Domid, int]:
    """Whose target falls to what, so that just enough comes free; empty when all together have too little."""
    targets: dict[Domid, int] = {}
    for one in others:
        taken = min(one.spare_kib, missing_kib)
        if taken > 0:
            targets[one.domid] = one.target_kib - taken
            missing_kib -= taken
    return {} if missing_kib > 0 else targets


async def ballooned(world: World) -> Sequence[Ballooned]:
    """All VMs with a domain, ascending domain id."""
    found = []
    for vm in world.registry:
        if vm.domid is not None:
            least_mib = (await world.store.config_or_none_set(vm))["memory-min"]
            target = await world.nodes.memory_target_kib(vm.domid)
            found.append(Ballooned(vm.domid, target, least_mib * KIB_PER_MIB))
    return sorted(found, key=lambda one: one.domid)


async def make_room(world: World, kib: int) -> None:
    """Have so much of the host's memory free.

    Raises NotEnoughMemory (101) when that cannot be; all VMs have their targets again then.
    """
    before: dict[Domid, int] = {}
    for _ in range(ROUNDS):
        info = await world.memory.physinfo()
        if info.free_kib >= kib:
            return
        others = await ballooned(world)
        targets = new_targets(kib - info.free_kib, others)
        if not targets and not info.scrub_kib:
            break
        before = {one.domid: one.target_kib for one in others if one.domid in targets} | before
        await _set_targets(world, targets)
        if await _comes_free(world, kib):
            return
        await asyncio.sleep(PAUSE_S)
    await _set_targets(world, before)
    free_kib = (await world.memory.physinfo()).free_kib
    raise NotEnoughMemory(f"{kib} KiB of memory are needed to start, {free_kib} KiB are free")


async def _set_targets(world: World, targets: Mapping[Domid, int]) -> None:
    for domid, kib in targets.items():
        log.info("memory target of domain %d: %d KiB", domid, kib)
        await world.nodes.set_memory_target(domid, kib)


async def _comes_free(world: World, kib: int) -> bool:
    for _ in range(POLLS):
        if (await world.memory.physinfo()).free_kib >= kib:
            return True
        await asyncio.sleep(POLL_S)
    return False
