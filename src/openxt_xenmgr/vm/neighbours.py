# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VM stands beside another, when several graphics cards show several VMs: where the mouse goes.

Source: OpenXT xenmgr, 2015.
"""

from collections.abc import Mapping

from openxt_xenmgr.host.gpus import gpus, placement
from openxt_xenmgr.properties.vm import HDX
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.world import World

NOBODY = -1


def beside(own: str, places: Mapping[str, int], *, left: bool) -> list[str]:
    """The cards on one side of `own`, the nearest first; none for a card that is not there."""
    if own not in places:
        return []
    here = places[own]
    side = [id for id, place in places.items() if (place < here if left else place > here)]
    return sorted(side, key=lambda id: abs(places[id] - here))


async def neighbour(world: World, vm: Vm, config: VmConfig, *, left: bool) -> int:
    """The slot of the running VM on that side; -1 when there is none, or the VM itself is meant."""
    cards = [gpu.id for gpu in gpus(world.places)]
    places = {id: await placement(world, id) for id in cards} if len(cards) > 1 else {}
    for id in beside(config["gpu"] or HDX, places, left=left):
        for shown in await _shown_on(world, id):
            if shown.domid is not None:
                return NOBODY if shown is vm else int((await world.store.config(shown))["slot"])
    return NOBODY


async def _shown_on(world: World, gpu: str) -> list[Vm]:
    """On the primary card those that are visible, on another the VMs that have it."""
    if gpu == HDX:
        found = map(world.registry.of_domid, await world.surfman.visible_domids())
        return [vm for vm in found if vm is not None]
    return [vm for vm in world.registry if (await world.store.config_or_none_set(vm))["gpu"] == gpu]
