# SPDX-License-Identifier: GPL-2.0-or-later
"""A network VM comes back as another domain: the cards that it serves are moved to it.

Whose cards it serves is asked of the stored configuration; what a guest says of its own cards decides only
whether there is something to move.  A card that cannot be moved is logged: the next one must not suffer.
"""

import asyncio
import logging
from dataclasses import dataclass

from openxt_core.errors import OpenxtError
from openxt_core.ids import DOM0, DOM0_UUID, Domid
from openxt_xenmgr.links.xenvm import XenvmClient
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.backends import backend_uuid, stored_vms
from openxt_xenmgr.vm.model import Nic, VmConfig
from openxt_xenmgr.vm.tree import Tree, flag, text
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Client:
    """A card of a running VM."""

    vm: Vm
    domid: Domid
    nic: int


async def move_all_clients(world: World) -> None:
    """For all running VMs: what was left to do when xenmgr ended."""
    running = [(vm, vm.domid) for vm in world.registry if vm.domid is not None]
    cards = [
        (Client(vm, domid, nic.id), nic)
        for vm, domid in running
        for nic in (await world.store.config_or_none_set(vm)).nics
        if nic.enabled
    ]
    vms = await stored_vms(world) if cards else {}
    for client, nic in cards:
        backend = world.registry.domid_of(await backend_uuid(world, nic, vms) or DOM0_UUID)
        if backend is not None:
            await _move(world, client, backend)


async def move_clients(world: World, vm: Vm, config: VmConfig) -> None:
    """Connect every card that `vm` serves to its present domain; returns when that is done."""
    if vm.domid is not None:
        found = await clients_of(world, vm, config.tree)
        await asyncio.gather(*(_move(world, client, vm.domid) for client in found))


async def _move(world: World, client: Client, backend: Domid) -> None:
    now = await world.nodes.nic_backend(client.domid, client.nic)
    if now is None or now == backend:
        return
    try:
        await XenvmClient(world.bus, client.vm.uuid).move_nic(client.nic, backend)
    except OpenxtError as error:
        log.error("VM %s: its card %d stays with domain %d: %s", client.vm.uuid, client.nic, now, error)
        return
    log.info("VM %s: card %d moved from domain %d to %d", client.vm.uuid, client.nic, now, backend)


async def cut_off_clients(world: World, vm: Vm) -> None:
    """The domain of `vm` is gone: tell the guests whose cards it served."""
    config = await world.store.config_or_none_set(vm)
    for client in await clients_of(world, vm, config.tree):
        if await world.nodes.nic_backend(client.domid, client.nic) != DOM0:
            await world.nodes.disconnect_nic(client.domid, client.nic)


async def clients_of(world: World, vm: Vm, tree: Tree) -> list[Client]:
    """The cards of other running VMs that `vm`, whose configuration is `tree`, serves."""
    found = [
        (Client(other, other.domid, nic.id), nic)
        for other in world.registry
        if other is not vm and other.domid is not None
        for nic in (await world.store.config_or_none_set(other)).nics
        if nic.enabled and _may_serve(vm, tree, nic)
    ]
    vms = await stored_vms(world) if found else {}
    return [client for client, nic in found if await backend_uuid(world, nic, vms) == vm.uuid]


def _may_serve(vm: Vm, tree: Tree, nic: Nic) -> bool:
    """Saves questions: nobody else is asked about cards that it surely does not serve."""
    if nic.backend_uuid:
        return nic.backend_uuid.lower() == vm.uuid
    if nic.backend_name:
        return nic.backend_name == text(tree, "name")
    return flag(tree, "provides-network-backend") or flag(tree, "provides-default-network-backend")
