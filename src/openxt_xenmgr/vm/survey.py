# SPDX-License-Identifier: GPL-2.0-or-later
"""What one VM's business has to know of all of them: a leaf of each, never whole trees.

A host may have a thousand VMs with hundreds of leaves each.  Asked leaf by leaf that is more work for the
processor, 0.14 s in place of 0.06 for a thousand, but in pieces between which others are served; and whole
trees cost 23 MiB, which do not come back.
"""

from openxt_core.ids import Uuid
from openxt_xenmgr.links.dbd import DbClient
from openxt_xenmgr.vm.model import VmConfig, disks_of, is_user_type
from openxt_xenmgr.vm.tree import leaf_text, parse_int

VMS = "/vm"


async def slots_of_user_vms(db: DbClient) -> dict[Uuid, int]:
    """The slot of each user VM that has one."""
    stored = await db.each(VMS, "slot")
    slots = {Uuid(uuid): parse_int(leaf_text(leaf) or "") or 0 for uuid, leaf in stored.items()}
    return {uuid: slot for uuid, slot in slots.items() if slot and await _is_user_vm(db, uuid)}


async def _is_user_vm(db: DbClient, uuid: Uuid) -> bool:
    return is_user_type(await db.read(f"{VMS}/{uuid}/type"))


async def native_user_vms(db: DbClient) -> list[Uuid]:
    """User VMs that have the native experience."""
    native = await _true(db, "native-experience")
    return [uuid for uuid in native if await _is_user_vm(db, uuid)]


async def may_have_card(db: DbClient) -> list[VmConfig]:
    """The VMs that can turn out to have the graphics card, whole."""
    stored = await db.each(VMS, "gpu")
    uuids = {Uuid(uuid) for uuid, leaf in stored.items() if leaf_text(leaf)}
    uuids |= set(await _true(db, "native-experience"))
    found = [(uuid, await db.dump(f"{VMS}/{uuid}")) for uuid in sorted(uuids)]
    return [VmConfig.of(uuid, tree) for uuid, tree in found if isinstance(tree, dict)]


async def _true(db: DbClient, key: str) -> list[Uuid]:
    return [Uuid(uuid) for uuid, leaf in (await db.each(VMS, key)).items() if leaf_text(leaf) == "true"]


async def disk_paths(db: DbClient, besides: Uuid | None = None) -> set[str]:
    """The images of all disks, but for those of one VM."""
    stored = await db.each(VMS, "config/disk")
    return {
        disk.path
        for uuid, disks in stored.items()
        if uuid != besides
        for disk in disks_of({"config": {"disk": disks}})
    }
