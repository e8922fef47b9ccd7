# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VMs a VM needs: those it names, and those that serve its nics.

Asks the database and the network daemon.  Only the reachable part is looked at, and an absent network
daemon means the default backend.
"""

from collections.abc import Collection

from openxt_core.ids import DOM0_UUID, Uuid
from openxt_xenmgr.vm.dependencies import Edges, dependencies_of, stop_order
from openxt_xenmgr.vm.graph import NEEDED_KEY, needs_nothing
from openxt_xenmgr.vm.model import Nic, VmConfig, nics_of
from openxt_xenmgr.vm.tree import Tree, items, text
from openxt_xenmgr.world import World


async def dependencies(world: World, config: VmConfig) -> list[Uuid]:
    """The VMs that a VM needs, deepest first.  Raises BadRequest naming a cycle."""
    if needs_nothing(config):
        return []
    now = await world.graph.snapshot()
    needed = needed_among(config.uuid, await _reachable(world, now.vms, [config.uuid]), now.vms)
    world.graph.remember(now, config.uuid, needed)
    return needed


def needed_among(uuid: Uuid, edges: Edges, vms: Tree) -> list[Uuid]:
    """What `uuid` needs of the stored VMs.  Raises BadRequest naming a cycle by its VMs' names."""
    found = dependencies_of(uuid, edges, lambda one: f"{text(vms.get(one, {}), 'name')} ({one})")
    return [other for other in found if other in vms]


async def users_of(world: World, uuid: Uuid) -> list[Uuid]:
    """All stored VMs that need `uuid`, in the order in which they stop, and at last `uuid`."""
    vms = await stored_vms(world)
    return stop_order(uuid, await _reachable(world, vms, list(map(Uuid, vms))))


async def edges_with(world: World, uuid: Uuid, needed: Uuid) -> tuple[Edges, Tree]:
    """What needs what if `uuid` needed `needed` too; and the stored VMs."""
    vms = await stored_vms(world)
    edges = await _reachable(world, vms, [uuid, needed])
    return {**edges, uuid: [*edges[uuid], needed]}, vms


async def stored_vms(world: World) -> Tree:
    """Of each what says whom it needs, and who it is."""
    return (await world.graph.snapshot()).vms


async def _reachable(world: World, vms: Tree, todo: list[Uuid]) -> dict[Uuid, list[Uuid]]:
    """Who needs whom, of all that can be reached from `todo`, which is used up."""
    edges: dict[Uuid, list[Uuid]] = {}
    while todo:
        one = todo.pop()
        if one not in edges:
            edges[one] = await _needs(world, vms, vms.get(one, {}))
            todo.extend(edges[one])
    return edges


async def _needs(world: World, vms: Tree, tree: Tree) -> list[Uuid]:
    served = [await backend_uuid(world, nic, vms) for nic in nics_of(tree)]
    named = [Uuid(word.lower()) for word in items(tree, NEEDED_KEY)]
    return [*named, *(other for other in served if other is not None)]


async def backend_uuid(world: World, nic: Nic, vms: Tree) -> Uuid | None:
    """The VM that serves a nic; dom0's uuid for dom0, None when a VM is named that is not there."""
    if nic.backend_uuid:
        return Uuid(nic.backend_uuid.lower())
    if nic.backend_name:
        return _first_with(vms, "name", nic.backend_name)
    named = await world.network.backend_of(nic.network)
    if named:
        return Uuid(named.lower())
    return _first_with(vms, "provides-default-network-backend", "true") or DOM0_UUID


def _first_with(vms: Tree, key: str, value: str) -> Uuid | None:
    return next((Uuid(uuid) for uuid, tree in vms.items() if text(tree, key) == value), None)


async def backend_domids(world: World, nics: tuple[Nic, ...]) -> tuple[tuple[int, int], ...]:
    """Nic id → domain id of its backend, for those whose backend is a running VM."""
    if not nics:
        return ()
    vms = await stored_vms(world)
    found = []
    for nic in nics:
        vm = world.registry.find(await backend_uuid(world, nic, vms) or DOM0_UUID)
        if vm is not None and vm.domid is not None:
            found.append((nic.id, int(vm.domid)))
    return tuple(found)


async def missing_backends(world: World, nics: tuple[Nic, ...], expected: Collection[Uuid] = ()) -> list[str]:
    """The named backends, by uuid or name, that have no domain now and are not expected to have one."""
    named = tuple(nic for nic in nics if nic.backend_uuid or nic.backend_name)
    have = {id for id, _ in await backend_domids(world, named)}
    if expected:
        vms = await stored_vms(world)
        have |= {nic.id for nic in named if await backend_uuid(world, nic, vms) in expected}
    return [
        nic.backend_uuid or nic.backend_name
        for nic in named
        if nic.id not in have and nic.backend_uuid != DOM0_UUID
    ]
