# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk and nic lists of a VM: add, change, remove entries, each in one transaction."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import NoSuchDisk, NoSuchNic
from openxt_core.places import Places
from openxt_xenmgr.properties.table import Change
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.deletion import image_files
from openxt_xenmgr.vm.model import DEFAULT_NETWORK, Disk, Nic, VmConfig, disks_of, free_device, next_id
from openxt_xenmgr.vm.survey import disk_paths
from openxt_xenmgr.vm.tree import Tree, numbered, subtree
from openxt_xenmgr.world import World


def disk_key(disk: int) -> str:
    return f"config/disk/{disk}"


def nic_key(nic: int) -> str:
    return f"config/nic/{nic}"


async def add_disk(world: World, vm: Vm) -> int:
    """A new entry without an image; its number."""

    def decide(config: VmConfig) -> tuple[list[Change], int]:
        disks = disks_of(config.tree)
        id = next_id(disk.id for disk in disks)
        fields = {
            "path": "",
            "type": "vhd",
            "mode": "w",
            "device": free_device(disks),
            "devtype": "disk",
            "shared": "false",
        }
        return _changes(disk_key(id), fields), id

    id = await world.store.edit(vm, decide)
    assert id is not None  # an entry that was not there differs
    vm.disks.add(id)
    return id


async def add_nic(world: World, vm: Vm) -> int:
    """A new network card on the default network; its number."""

    def decide(config: VmConfig) -> tuple[list[Change], int]:
        id = next_id(used for used, _ in numbered(config.tree, "config/nic"))
        return _changes(nic_key(id), {"id": str(id), "network": DEFAULT_NETWORK}), id

    id = await world.store.edit(vm, decide)
    assert id is not None  # as above
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
    def key(self) -> str:
        return disk_key(self.id)

    @property
    def disk(self) -> Disk:
        return Disk.of(self.id, self.tree)


@dataclass(frozen=True, slots=True)
class NicEntry:
    vm: Vm
    id: int
    tree: Tree

    @property
    def key(self) -> str:
        return nic_key(self.id)

    @property
    def nic(self) -> Nic:
        return Nic.of(self.id, self.tree)


async def find_disk(world: World, vm: Vm, id: int) -> DiskEntry:
    """Raises NoSuchDisk (206)."""
    return disk_in(vm, id, await world.store.tree(vm))


def disk_in(vm: Vm, id: int, tree: Tree) -> DiskEntry:
    """Raises NoSuchDisk (206)."""
    entry = subtree(tree, disk_key(id))
    if not entry:
        raise NoSuchDisk(f"VM {vm.uuid} has no disk {id}")
    return DiskEntry(vm, id, entry)


async def find_nic(world: World, vm: Vm, id: int) -> NicEntry:
    """Raises NoSuchNic (222)."""
    return nic_in(vm, id, await world.store.tree(vm))


def nic_in(vm: Vm, id: int, tree: Tree) -> NicEntry:
    """Raises NoSuchNic (222)."""
    entry = subtree(tree, nic_key(id))
    if not entry:
        raise NoSuchNic(f"VM {vm.uuid} has no network card {id}")
    return NicEntry(vm, id, entry)


async def attach(world: World, vm: Vm, id: int, path: str, type: str) -> None:
    """Put an image or device behind a disk, writable."""

    def decide(config: VmConfig) -> tuple[list[Change], None]:
        disk_in(vm, id, config.tree)
        fields = {"path": path, "type": type, "mode": "w", "devtype": "disk"}
        return _changes(disk_key(id), fields), None

    await world.store.edit(vm, decide)


async def remove_disk(world: World, vm: Vm, id: int) -> None:
    """Remove the entry, and its vhd image unless it is shared or another disk has it too."""

    def decide(config: VmConfig) -> tuple[list[Change], Disk]:
        return [Change(disk_key(id), None)], disk_in(vm, id, config.tree).disk

    disk = await world.store.edit(vm, decide)
    assert disk is not None  # what was there is to be removed
    vm.disks.discard(id)
    if disk.type == "vhd" and disk.path and not disk.shared and disk.path not in await disk_paths(world.db):
        _unlink(world.places, disk.path)


def _unlink(places: Places, path: str) -> None:
    for file in image_files(places, path):
        with contextlib.suppress(OSError):
            Path(file).unlink()


async def remove_nic(world: World, vm: Vm, id: int) -> None:
    def decide(config: VmConfig) -> tuple[list[Change], None]:
        nic_in(vm, id, config.tree)
        return [Change(nic_key(id), None)], None

    await world.store.edit(vm, decide)
    vm.nics.discard(id)
