# SPDX-License-Identifier: GPL-2.0-or-later
"""Faces of a VM's disks and network cards: `/vm/<uuid>/disk/<id>` and `/vm/<uuid>/nic/<id>`."""

from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import Any, TypeAlias

from openxt_api.vm_disk import Vmdisk
from openxt_api.vm_nic import Vmnic
from openxt_core.errors import BadRequest
from openxt_core.spec import Call, Interface, Value
from openxt_xenmgr.objects.vm import found_vm
from openxt_xenmgr.objects.work import Work
from openxt_xenmgr.properties import disk as disk_rows
from openxt_xenmgr.properties import nic as nic_rows
from openxt_xenmgr.properties.table import (
    Change,
    Live,
    Row,
    by_name,
    changes_for,
    has_line_break,
    needed_row,
    value_in,
)
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm import devices, storage
from openxt_xenmgr.vm.devices import DiskEntry, NicEntry
from openxt_xenmgr.vm.edits import set_nic_network
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.tree import Tree
from openxt_xenmgr.world import World

Find: TypeAlias = Callable[[Vm, int, Tree], DiskEntry | NicEntry]

DISK_ROWS = by_name(disk_rows.ROWS)
NIC_ROWS = by_name(nic_rows.ROWS)


async def read_row(row: Row[Any], entry: DiskEntry | NicEntry) -> Value:
    if not isinstance(row, Live):
        return value_in(row, entry.tree)
    value = row.read(entry)
    return await value if isawaitable(value) else value


async def read_all(rows: Mapping[str, Row[Any]], entry: DiskEntry | NicEntry) -> dict[str, Value]:
    return {name: await read_row(row, entry) for name, row in rows.items()}


async def write_row(row: Row[Any], find: Find, vm: Vm, id: int, world: World, value: Value) -> None:
    """Write a property of the entry that `find` finds."""
    if isinstance(row, Live):
        assert row.write is not None
        done = row.write(find(vm, id, await world.store.tree(vm)), value)
        if isawaitable(done):
            await done
        return
    wanted = changes_for(row, value)

    def decide(config: VmConfig) -> tuple[list[Change], None]:
        key = find(vm, id, config.tree).key
        return [Change(f"{key}/{change.key}", change.value) for change in wanted], None

    await world.store.edit(vm, decide)


async def tell(work: Work, call: Call, spec: Interface, rows: Mapping[str, Row[Any]], name: str) -> None:
    """PropertiesChanged of one property."""
    vm = found_vm(work, call)
    find = devices.find_disk if rows is DISK_ROWS else devices.find_nic
    entry = await find(work.world, vm, int(call.key[1]))
    work.world.announcer.properties(call.path, spec, {name: await read_row(rows[name], entry)})


class DiskObject(Vmdisk):
    """com.citrix.xenclient.vmdisk.  Everything raises NoSuchDisk (206) when the entry is gone."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work
        self._vm: Vm = found_vm(work, call)
        self._id = int(call.key[1])

    def _entry(self) -> Awaitable[DiskEntry]:
        return devices.find_disk(self._work.world, self._vm, self._id)

    async def get_property(self, name: str) -> Value:
        row = needed_row(DISK_ROWS, self.SPEC, name, writing=False)
        return await read_row(row, await self._entry())

    async def set_property(self, name: str, value: Value) -> None:
        row = needed_row(DISK_ROWS, self.SPEC, name, writing=True)
        await write_row(row, devices.disk_in, self._vm, self._id, self._work.world, value)
        await tell(self._work, self.call, self.SPEC, DISK_ROWS, name)

    async def get_all(self) -> dict[str, Value]:
        return await read_all(DISK_ROWS, await self._entry())

    async def attach_vhd(self, vhd_path: str) -> None:
        await self._attach(vhd_path, "vhd")

    async def attach_phy(self, phy_path: str) -> None:
        await self._attach(phy_path, "phy")

    async def _attach(self, path: str, type: str) -> None:
        if ":" in path or has_line_break(path) or not path:
            raise BadRequest(f"not a path for a disk: {path[:60]!r} (no ':' is allowed in it)")
        await devices.attach(self._work.world, self._vm, self._id, path, type)

    async def mount(self, dirpath: str, readonly: bool) -> None:
        await storage.mount(self._work.world, self._vm, self._id, dirpath, readonly=readonly)

    async def umount(self) -> None:
        await storage.unmount(self._work.world, self._vm, self._id)

    async def generate_crypto_key(self, keysize: int) -> None:
        await storage.make_key(self._work.world, self._vm, self._id, keysize, "")

    async def generate_crypto_key_in(self, keysize: int, dirpath: str) -> None:
        if not dirpath.startswith("/"):
            raise BadRequest(f"dirpath cannot be {dirpath[:60]!r}: the full path of a folder is expected")
        await storage.make_key(self._work.world, self._vm, self._id, keysize, dirpath)

    async def delete(self) -> None:
        await devices.remove_disk(self._work.world, self._vm, self._id)
        self._work.publisher.removed_part(self.call.path)


class NicObject(Vmnic):
    """com.citrix.xenclient.vmnic.  Everything raises NoSuchNic (222) when the entry is gone."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work
        self._vm: Vm = found_vm(work, call)
        self._id = int(call.key[1])

    def _entry(self) -> Awaitable[NicEntry]:
        return devices.find_nic(self._work.world, self._vm, self._id)

    async def get_property(self, name: str) -> Value:
        row = needed_row(NIC_ROWS, self.SPEC, name, writing=False)
        return await read_row(row, await self._entry())

    async def set_property(self, name: str, value: Value) -> None:
        row = needed_row(NIC_ROWS, self.SPEC, name, writing=True)
        if name == nic_rows.NETWORK:
            await set_nic_network(self._work.world, self._vm, self._id, value)
        else:
            await write_row(row, devices.nic_in, self._vm, self._id, self._work.world, value)
        await tell(self._work, self.call, self.SPEC, NIC_ROWS, name)

    async def get_all(self) -> dict[str, Value]:
        return await read_all(NIC_ROWS, await self._entry())

    async def delete(self) -> None:
        await devices.remove_nic(self._work.world, self._vm, self._id)
        self._work.publisher.removed_part(self.call.path)
