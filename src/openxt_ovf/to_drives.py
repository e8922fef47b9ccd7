# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks and CD drives of a system: items → `Drive`s, with the images and discs that they need.  Pure.

Source: OpenXT apptool 1.0 and DMTF DSP0243.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from openxt_core.errors import BadRequest
from openxt_core.ovf_environment import property_id
from openxt_ovf import overrides
from openxt_ovf.disk_order import drive_items
from openxt_ovf.hrefs import base_name, file_name, place_of
from openxt_ovf.model import Disk, Envelope, File, Item, Resource, System, XciDisk, XciSystem
from openxt_ovf.plan import DISKS, ISOS, Copy, Drive, Image
from openxt_ovf.units import size_bytes, whole_number

MAX_IMAGE_BYTES = 2040 << 30  # what the addresses of a VHD reach

_HOST_RESOURCE = re.compile(r"(?:ovf:)?/?(?P<kind>disk|file)/(?P<id>.+)\Z")
_PROPERTY = re.compile(r"\$\{(?P<id>[^}]+)\}\Z")


def _host_resource(item: Item) -> tuple[str, str]:
    """`disk` or `file`, and an id; early exporters leave out scheme and slash.  Empty for another."""
    found = _HOST_RESOURCE.match(item.host_resource)
    return (found["kind"], found["id"]) if found else ("", "")


class DriveMaker:
    """`images` and `isos` collect what the drives made so far need, by path."""

    def __init__(self, envelope: Envelope, appliance: str, new_uuid: Callable[[], str]) -> None:
        self._systems = envelope.systems
        self._id = appliance
        self._new_uuid = new_uuid
        self._files = {file.id: file for file in envelope.files}
        self._disks = {disk.id: disk for disk in envelope.disks}
        self._xci_disks = {disk.id: disk for disk in envelope.xci.disks}
        self.images: dict[str, Image] = {}
        self.isos: dict[str, Copy] = {}

    def file(self, id: str, what: str) -> File:
        """Raises BadRequest for a file that the package does not have."""
        if id not in self._files:
            raise BadRequest(f"{what} refers to the file {id[:80]!r}, which is not among the References")
        return self._files[id]

    def of(self, system: System, xci: XciSystem) -> tuple[Drive, ...]:
        items = drive_items(system.items)
        extra = {one.instance: one.properties for one in xci.disks}
        overrides.refuse_unknown(extra, items, f"xci:StorageDevice: {system.id!r:.80}")
        return tuple(
            self._drive(system, index, item, extra.get(item.instance, ())) for index, item in enumerate(items)
        )

    def _drive(self, system: System, index: int, item: Item, extra: Iterable[tuple[str, str]]) -> Drive:
        where = f"drive {item.instance!r:.40} of {system.id!r:.80}"
        settings = overrides.settings(extra, overrides.DISK, where)
        if item.resource == Resource.DISK:
            disk = self._disk_of(item, where)
            image = self._image(disk, system, index)
            return Drive(image, "", item.is_read_only, item.is_automatic, settings)
        return Drive(None, self._iso_of(item, where), True, item.is_automatic, settings)

    def _iso_of(self, item: Item, where: str) -> str:
        """Path of a disc, empty for none.  One of the host is used in place, one of the package copied."""
        if not item.host_resource:
            return ""
        file = self._disc(item, where)
        host_path = place_of(file.href).host_path
        if host_path:
            return host_path
        copy = Copy(file, f"{ISOS}/{base_name(file)}")
        if self.isos.setdefault(copy.path, copy) != copy:
            raise BadRequest(f"{where}: two files would become {copy.path}")
        return copy.path

    def _disc(self, item: Item, where: str) -> File:
        """VirtualBox names discs among the disks."""
        kind, id = _host_resource(item)
        if kind == "disk" and id in self._disks and self._disks[id].file:
            return self.file(self._disks[id].file, where)
        if kind != "file":
            raise BadRequest(
                f"{where}: a CD drive cannot hold {item.host_resource[:80]!r}, only ovf:/file/ID"
            )
        return self.file(id, where)

    def _disk_of(self, item: Item, where: str) -> Disk:
        """A file named directly is a disk of its own; oVirt names disks by their bare ids."""
        kind, id = _host_resource(item)
        if kind == "file":
            return Disk(id, self.file(id, where).id)
        if not kind and item.host_resource in self._disks:
            return self._disks[item.host_resource]
        if kind != "disk":
            raise BadRequest(f"{where}: a disk cannot be {item.host_resource[:80]!r}, only ovf:/disk/ID")
        if id not in self._disks:
            raise BadRequest(f"{where}: there is no disk {id[:80]!r} in the DiskSection")
        return self._disks[id]

    def _image(self, disk: Disk, system: System, index: int) -> Image:
        """A shared disk's image is made once, any other's once for each use."""
        name = f"{self._id}-{file_name(disk.id, 'the id of a Disk')}"
        if disk.is_shared and name in self.images:
            return self.images[name]
        xci = self._xci_disks.get(disk.id, XciDisk(disk.id))
        own = name if disk.is_shared else f"{name}-{self._new_uuid()}"
        image = Image(
            disk=disk,
            path=f"{DISKS}/{own}.vhd",
            file=self.file(disk.file, f"Disk {disk.id!r:.80}") if disk.file else None,
            capacity=self._capacity(disk),
            parents=tuple(self._parents(disk)),
            filesystem=xci.filesystem,
            key=xci.key,
            key_file=self.file(xci.key.file, "ImportEncryptionKey") if xci.key and xci.key.file else None,
            system="" if disk.is_shared else system.id,
            index=None if disk.is_shared else index,
        )
        self.images[own] = image
        return image

    def _parents(self, disk: Disk) -> Iterator[tuple[Disk, File]]:
        seen = {disk.id}
        while disk.parent:
            if disk.parent not in self._disks:
                raise BadRequest(f"Disk {disk.id!r:.80} builds on {disk.parent[:80]!r}, which does not exist")
            if disk.parent in seen:
                raise BadRequest(f"Disk {disk.id!r:.80} builds on itself (parentRef)")
            disk = self._disks[disk.parent]
            seen.add(disk.id)
            yield disk, self.file(disk.file, f"Disk {disk.id!r:.80}")

    def _capacity(self, disk: Disk) -> int | None:
        text = disk.capacity
        if (found := _PROPERTY.match(text)) is not None:
            text = self._property(found["id"], disk)
        number = whole_number(text, f"capacity of Disk {disk.id!r:.80}")
        size = None if number is None else size_bytes(number, disk.units)
        if size is None and not disk.file and not disk.parent:
            raise BadRequest(f"Disk {disk.id!r:.80} has neither a capacity nor a file")
        if size is not None and not 0 < size <= MAX_IMAGE_BYTES:
            raise BadRequest(
                f"Disk {disk.id!r:.80}: a capacity of {size} bytes cannot be; 1 byte to 2040 GiB can"
            )
        return size

    def _property(self, id: str, disk: Disk) -> str:
        for system in self._systems:
            for product in system.products:
                for one in product.properties:
                    if id in (one.key, property_id(product.class_, one.key, product.instance)):
                        return one.value
        raise BadRequest(
            f"Disk {disk.id!r:.80}: its capacity is that of a property {id[:80]!r}, which is not there"
        )
