# SPDX-License-Identifier: GPL-2.0-or-later
"""Who serves a VM's nics, and so which VMs it needs: asks the database and the network daemon.

Only the reachable part is looked at, and an absent network daemon means the default backend.
"""

from openxt_core.ids import DOM0_UUID, Uuid
from openxt_xenmgr.vm.dependencies import dependencies_of
from openxt_xenmgr.vm.model import Nic, VmConfig, nics_of
from openxt_xenmgr.vm.tree import Tree, text
from openxt_xenmgr.world import World


async def dependencies(world: World, config: VmConfig) -> list[Uuid]:
    """The VMs that a VM needs, deepest first.  Raises BadRequest naming a cycle."""
    if not config.nics:
        return []
    uuid = config.uuid
    stored = await world.db.dump("/vm")
    vms = stored if isinstance(stored, dict) else {}
    edges: dict[Uuid, list[Uuid]] = {}
    todo = [uuid]
    while todo:
        one = todo.pop()
        if one in edges:
            continue
        served = [await backend_uuid(world, nic, vms) for nic in nics_of(vms.get(one, {}))]
        edges[one] = [other for other in served if other is not None]
        todo.extend(edges[one])
    return [other for other in dependencies_of(uuid, edges) if other in vms]


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
    stored = await world.db.dump("/vm")
    vms = stored if isinstance(stored, dict) else {}
    found = []
    for nic in nics:
        vm = world.registry.find(await backend_uuid(world, nic, vms) or DOM0_UUID)
        if vm is not None and vm.domid is not None:
            found.append((nic.id, int(vm.domid)))
    return tuple(found)


async def missing_backends(world: World, nics: tuple[Nic, ...]) -> list[str]:
    """The named backends, by uuid or name, that have no domain now."""
    named = tuple(nic for nic in nics if nic.backend_uuid or nic.backend_name)
    have = {id for id, _ in await backend_domids(world, named)}
    return [
        nic.backend_uuid or nic.backend_name
        for nic in named
        if nic.id not in have and nic.backend_uuid != DOM0_UUID
    ]
