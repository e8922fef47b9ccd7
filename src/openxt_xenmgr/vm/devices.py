# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk and nic lists of a VM: add, change, remove entries, under the VM's editing lock."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import NoSuchDisk, NoSuchNic
from openxt_core.places import Places
from openxt_xenmgr.properties.table import Change
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.deletion import image_files
from openxt_xenmgr.vm.model import DEFAULT_NETWORK, Disk, Nic, disks_of, free_device, next_id
from openxt_xenmgr.vm.tree import Tree, numbered, subtree
from openxt_xenmgr.world import World


def disk_key(disk: int) -> str:
    return f"config/disk/{disk}"


def nic_key(nic: int) -> str:
    return f"config/nic/{nic}"


async def add_disk(world: World, vm: Vm) -> int:
    """A new entry without an image; its number."""
    async with vm.editing:
        disks = disks_of(await world.store.tree(vm))
        id = next_id(disk.id for disk in disks)
        fields = {
            "path": "",
            "type": "vhd",
            "mode": "w",
            "device": free_device(disks),
            "devtype": "disk",
            "shared": "false",
        }
        await world.store.change(vm, _changes(disk_key(id), fields))
    vm.disks.add(id)
    return id


async def add_nic(world: World, vm: Vm) -> int:
    """A new network card on the default network; its number."""
    async with vm.editing:
        tree = await world.store.tree(vm)
        id = next_id(used for used, _ in numbered(tree, "config/nic"))
        fields = {"id": str(id), "network": DEFAULT_NETWORK}
        await world.store.change(vm, _changes(nic_key(id), fields))
    vm.nics.add(id)
    return id


def _changes(key: str, fields: dict[str, str]) -> list[Change]:
    return [Change(f"{key}/{name}", value) for name, value in fields.items()]


@dataclass(frozen=True, slots=True)
class DiskEntry:
    """A disk with its place in the tree."""

    vm: Vm
    id: int
    tree: Tree  # of the entry

    @property
    def disk(self) -> Disk:
        return Disk.of(self.id, self.tree)


@dataclass(frozen=True, slots=True)
class NicEntry:
    vm: Vm
    id: int
    tree: Tree

    @property
    def nic(self) -> Nic:
        return Nic.of(self.id, self.tree)


async def find_disk(world: World, vm: Vm, id: int) -> DiskEntry:
    """Raises NoSuchDisk (206)."""
    tree = subtree(await world.store.tree(vm), disk_key(id))
    if not tree:
        raise NoSuchDisk(f"VM {vm.uuid} has no disk {id}")
    return DiskEntry(vm, id, tree)


async def find_nic(world: World, vm: Vm, id: int) -> NicEntry:
    """Raises NoSuchNic (222)."""
    tree = subtree(await world.store.tree(vm), nic_key(id))
    if not tree:
        raise NoSuchNic(f"VM {vm.uuid} has no network card {id}")
    return NicEntry(vm, id, tree)


async def attach(world: World, vm: Vm, id: int, path: str, type: str) -> None:
    """Put an image or device behind a disk, writable."""
    async with vm.editing:
        await find_disk(world, vm, id)
        fields = {"path": path, "type": type, "mode": "w", "devtype": "disk"}
        await world.store.change(vm, _changes(disk_key(id), fields))


async def remove_disk(world: World, vm: Vm, id: int) -> None:
    """Remove the entry, and its vhd image unless it is shared or another disk has it too."""
    async with vm.editing:
        disk = (await find_disk(world, vm, id)).disk
        await world.store.change(vm, (Change(disk_key(id), None),))
        vm.disks.discard(id)
    if disk.type == "vhd" and disk.path and not disk.shared and not await _is_used(world, disk.path):
        _unlink(world.places, disk.path)


async def _is_used(world: World, path: str) -> bool:
    stored = await world.db.dump("/vm")
    vms = stored.values() if isinstance(stored, dict) else ()
    return any(disk.path == path for tree in vms for disk in disks_of(tree))


def _unlink(places: Places, path: str) -> None:
    for file in image_files(places, path):
        with contextlib.suppress(OSError):
            Path(file).unlink()


async def remove_nic(world: World, vm: Vm, id: int) -> None:
    async with vm.editing:
        await find_nic(world, vm, id)
        await world.store.change(vm, (Change(nic_key(id), None),))
        vm.nics.discard(id)
