# SPDX-License-Identifier: GPL-2.0-or-later
"""The VMs that a VM names as needed, and what changed since its last start."""

from openxt_core.errors import BadRequest
from openxt_core.ids import Uuid, parse_uuid
from openxt_xenmgr.properties.table import Change
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.backends import edges_with, needed_among, users_of
from openxt_xenmgr.vm.graph import NEEDED_KEY
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.policy import need_edit
from openxt_xenmgr.vm.start import last_start_key
from openxt_xenmgr.vm.tree import items, parse_int
from openxt_xenmgr.world import World

# What a run itself changes in the configuration.
OF_THE_RUN = ("hibernated", "time-offset")


async def add_needed(world: World, vm: Vm, uuid_text: str) -> None:
    """Raises BadRequest for an unknown VM, the VM itself, and a circle."""
    other = world.registry.need(parse_uuid(uuid_text))
    edges, vms = await edges_with(world, vm.uuid, other.uuid)
    needed_among(vm.uuid, edges, vms)

    def decide(config: VmConfig) -> tuple[tuple[Change, ...], None]:
        need_edit(vm.uuid, config.tree)
        stored = items(config.tree, NEEDED_KEY)
        return () if other.uuid in stored else (Change(NEEDED_KEY, (*stored, other.uuid)),), None

    await world.store.edit(vm, decide)


async def remove_needed(world: World, vm: Vm, uuid_text: str) -> None:
    uuid = parse_uuid(uuid_text)

    def decide(config: VmConfig) -> tuple[tuple[Change, ...], None]:
        need_edit(vm.uuid, config.tree)
        kept = tuple(other for other in items(config.tree, NEEDED_KEY) if other.lower() != uuid)
        return (Change(NEEDED_KEY, kept),), None

    await world.store.edit(vm, decide)


async def stop_order(world: World, vm: Vm) -> list[Uuid]:
    """The running ones of those that need it, and itself."""
    running = {other.uuid for other in world.registry if other.domid is not None}
    return [uuid for uuid in await users_of(world, vm.uuid) if uuid in running]


async def changed_since_start(world: World, vm: Vm) -> list[tuple[str, str, str]]:
    """Key, old and new JSON.  Raises BadRequest for a VM that was never started."""
    revision = parse_int(await world.db.read(last_start_key(vm)))
    if revision is None:
        raise BadRequest(f"VM {vm.uuid} was never started")
    changes = await world.db.diff(vm.db, revision)
    found = [(path.removeprefix(f"{vm.db}/"), old, new) for path, old, new in changes]
    return [change for change in found if change[0] not in OF_THE_RUN]
