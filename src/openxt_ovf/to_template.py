# SPDX-License-Identifier: GPL-2.0-or-later
"""`Envelope` → `Plan`: which VMs, disks and files an appliance becomes on this host.  Pure.

Every name is looked up, every number reckoned, every word checked here, so that what fails does so before
anything is asked of the host.  Source: OpenXT apptool 1.0 and DMTF DSP0243.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from openxt_core.errors import BadRequest
from openxt_core.ovf_environment import property_id
from openxt_core.signature import Variant
from openxt_ovf import overrides
from openxt_ovf.disk_order import drive_items
from openxt_ovf.hrefs import inside, place_of
from openxt_ovf.model import Disk, Envelope, File, Item, Product, Resource, System, XciDisk, XciSystem
from openxt_ovf.plan import (
    DEFAULT_NETWORK,
    DEFAULT_TEMPLATE,
    DISKS,
    DOMSTORE,
    ENVIRONMENT_FILES,
    ISOS,
    Copy,
    Drive,
    Image,
    Nic,
    Plan,
    Setting,
    Vm,
)
from openxt_ovf.units import MIB, mib, size_bytes, whole_number

DEFAULT_MEMORY_MIB = 512
MAX_VCPUS = 128
MAX_MEMORY_MIB = 16 << 20  # 16 TiB
MAX_IMAGE_BYTES = 2040 << 30  # what the addresses of a VHD reach
UNNAMED, FIRST_VERSION = "unnamed", 1

_HOST_DISK = re.compile(r"(?:ovf:)?/disk/(?P<id>.+)\Z")
_HOST_FILE = re.compile(r"(?:ovf:)?/file/(?P<id>.+)\Z")
_PROPERTY = re.compile(r"\$\{(?P<id>[^}]+)\}\Z")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}\Z")
_FILE_NAME = re.compile(r"[^\x00-\x1f/:\x7f]{1,120}\Z")
_HOLDS_NO_NAME = (".", "-")  # hidden files, and options of programs


@dataclass(frozen=True)
class Choices:
    """What the person who installs decides.  `networks` overrides the package's mapping."""

    new_uuid: Callable[[], str]
    id: str = ""
    version: int | None = None
    networks: Mapping[str, str] = field(default_factory=dict)


def file_name(text: str, what: str) -> str:
    """The text, if it can be part of file names and database paths.  Raises BadRequest."""
    if not _FILE_NAME.match(text) or text.startswith(_HOLDS_NO_NAME):
        raise BadRequest(
            f"{what} cannot be {text[:60]!r}: no slash, colon or control character, no dot or dash first"
        )
    return text


def plan_of(envelope: Envelope, choices: Choices) -> Plan:
    """Raises BadRequest naming what does not fit together."""
    return _Planner(envelope, choices).plan()


class _Planner:
    def __init__(self, envelope: Envelope, choices: Choices) -> None:
        self._envelope = envelope
        self._choices = choices
        self._id = file_name(choices.id or envelope.xci.appliance_id or UNNAMED, "the appliance's id")
        self._files = {file.id: file for file in envelope.files}
        self._disks = {disk.id: disk for disk in envelope.disks}
        self._xci_disks = {disk.id: disk for disk in envelope.xci.disks}
        self._xci_systems = {system.id: system for system in envelope.xci.systems}
        self._networks = self._network_paths()
        self._images: dict[str, Image] = {}
        self._isos: dict[str, Copy] = {}
        self._warnings = list(envelope.warnings)

    def plan(self) -> Plan:
        self._refuse_strangers()
        vms = tuple(self._vm(system) for system in self._envelope.systems)
        first = self._envelope.xci.version
        chosen = self._choices.version
        version = chosen if chosen is not None else FIRST_VERSION if first is None else first
        return Plan(
            self._id,
            version,
            vms,
            tuple(self._images.values()),
            tuple(self._isos.values()),
            self._envelope.licences,
            tuple(self._warnings),
        )

    def _refuse_strangers(self) -> None:
        """The extension may speak only of what the package has."""
        systems = {system.id for system in self._envelope.systems}
        for kind, ids, known in (
            ("VirtualMachine", self._xci_systems, systems),
            ("Disk", self._xci_disks, self._disks.keys()),
            ("Network", dict(self._envelope.xci.networks), {one.name for one in self._envelope.networks}),
        ):
            for id in ids:
                if id not in known:
                    raise BadRequest(f"xci:{kind} speaks of {id[:80]!r}, which the package does not have")

    def _network_paths(self) -> dict[str, str]:
        wanted = dict(self._envelope.xci.networks) | dict(self._choices.networks)
        known = {network.name for network in self._envelope.networks}
        for name in self._choices.networks:
            if name not in known:
                raise BadRequest(
                    f"the package has no network {name[:80]!r}; it has: {', '.join(sorted(known)) or 'none'}"
                )
        return {name: wanted.get(name) or DEFAULT_NETWORK for name in known}

    # One VM

    def _vm(self, system: System) -> Vm:
        file_name(system.id, "the id of a VirtualSystem")
        xci = self._xci_systems.get(system.id, XciSystem(system.id))
        uuid = xci.uuid or self._choices.new_uuid()
        if system.firmware == "efi":
            self._warnings.append(
                f"{system.id!r:.80} wants EFI firmware; it will get a BIOS and may not boot"
            )
        return Vm(
            system=system.id,
            uuid=uuid,
            is_uuid_fixed=bool(xci.uuid),
            name=system.name or system.id,
            template=xci.template or DEFAULT_TEMPLATE,
            memory_mib=memory_mib(system),
            vcpus=vcpus(system),
            has_iso_transport="iso" in system.transport,
            settings=(
                *cores(system),
                *overrides.settings(xci.properties, overrides.VM, f"VM {system.id!r:.80}"),
            ),
            nics=self._nics(system, xci),
            drives=self._drives(system, xci),
            v4v_rules=xci.v4v_rules,
            rpc_rules=xci.rpc_rules,
            pci=xci.pci,
            db_entries=xci.db_entries,
            files=(*self._domstore_files(xci, uuid), *self._environment_files(system, uuid)),
            products=checked_products(system),
            install_delay_s=system.install_delay_s,
        )

    def _file(self, id: str, what: str) -> File:
        if id not in self._files:
            raise BadRequest(f"{what} refers to the file {id[:80]!r}, which is not among the References")
        return self._files[id]

    def _domstore_files(self, xci: XciSystem, uuid: str) -> Iterator[Copy]:
        for id in xci.domstore_files:
            file = self._file(id, "DomStoreFile")
            yield Copy(file, f"{DOMSTORE}/{uuid}/{base_name(file)}")

    def _environment_files(self, system: System, uuid: str) -> Iterator[Copy]:
        what = f"the environment files of {system.id!r:.80}"
        for id, path in system.environment_files:
            file = self._file(id, "EnvironmentFilesSection")
            yield Copy(file, f"{ENVIRONMENT_FILES}/{uuid}/{inside(path.lstrip('/'), what)}")

    # Network cards

    def _nics(self, system: System, xci: XciSystem) -> tuple[Nic, ...]:
        items = [item for item in system.items if item.resource == Resource.ETHERNET]
        extra = {one.instance: one.properties for one in xci.nics}
        _refuse_unknown(extra, items, system, "NetworkAdapter")
        return tuple(self._nic(system, item, extra.get(item.instance, ())) for item in items)

    def _nic(self, system: System, item: Item, extra: Iterable[tuple[str, str]]) -> Nic:
        where = f"network card {item.instance!r:.40} of {system.id!r:.80}"
        if item.connection and item.connection not in self._networks:
            raise BadRequest(f"{where}: there is no network {item.connection[:80]!r} in the NetworkSection")
        given = [("mac", mac(item.address, where))] if item.address else []
        return Nic(
            self._networks.get(item.connection),
            item.is_automatic,
            overrides.settings((*given, *extra), overrides.NIC, where),
        )

    # Disks and CD drives

    def _drives(self, system: System, xci: XciSystem) -> tuple[Drive, ...]:
        items = drive_items(system.items)
        extra = {one.instance: one.properties for one in xci.disks}
        _refuse_unknown(extra, items, system, "StorageDevice")
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
        found = _HOST_FILE.match(item.host_resource)
        if item.host_resource and not found:
            raise BadRequest(
                f"{where}: a CD drive cannot hold {item.host_resource[:80]!r}, only ovf:/file/ID"
            )
        if not found:
            return ""
        file = self._file(found["id"], where)
        host_path = place_of(file.href).host_path
        if host_path:
            return host_path
        copy = Copy(file, f"{ISOS}/{base_name(file)}")
        if self._isos.setdefault(copy.path, copy) != copy:
            raise BadRequest(f"{where}: two files would become {copy.path}")
        return copy.path

    def _disk_of(self, item: Item, where: str) -> Disk:
        """A file named directly is a disk of its own."""
        if (found := _HOST_FILE.match(item.host_resource)) is not None:
            return Disk(found["id"], self._file(found["id"], where).id)
        found = _HOST_DISK.match(item.host_resource)
        if found is None:
            raise BadRequest(f"{where}: a disk cannot be {item.host_resource[:80]!r}, only ovf:/disk/ID")
        if found["id"] not in self._disks:
            raise BadRequest(f"{where}: there is no disk {found['id'][:80]!r} in the DiskSection")
        return self._disks[found["id"]]

    def _image(self, disk: Disk, system: System, index: int) -> Image:
        """A shared disk's image is made once, any other's once for each use."""
        name = f"{self._id}-{file_name(disk.id, 'the id of a Disk')}"
        if disk.is_shared and name in self._images:
            return self._images[name]
        xci = self._xci_disks.get(disk.id, XciDisk(disk.id))
        own = name if disk.is_shared else f"{name}-{self._choices.new_uuid()}"
        image = Image(
            disk=disk,
            path=f"{DISKS}/{own}.vhd",
            file=self._file(disk.file, f"Disk {disk.id!r:.80}") if disk.file else None,
            capacity=self._capacity(disk),
            parents=tuple(self._parents(disk)),
            filesystem=xci.filesystem,
            key=xci.key,
            key_file=self._file(xci.key.file, "ImportEncryptionKey") if xci.key and xci.key.file else None,
            system="" if disk.is_shared else system.id,
            index=None if disk.is_shared else index,
        )
        self._images[own] = image
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
            yield disk, self._file(disk.file, f"Disk {disk.id!r:.80}")

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
        for system in self._envelope.systems:
            for product in system.products:
                for one in product.properties:
                    if id in (one.key, property_id(product.class_, one.key, product.instance)):
                        return one.value
        raise BadRequest(
            f"Disk {disk.id!r:.80}: its capacity is that of a property {id[:80]!r}, which is not there"
        )


def base_name(file: File) -> str:
    """What a file of the package is called on the host.  Raises BadRequest."""
    place = place_of(file.href)
    return file_name(
        (place.host_path or place.names[-1]).rpartition("/")[2], f"the name of {file.href[:80]!r}"
    )


def _refuse_unknown(extra: Iterable[str], items: Iterable[Item], system: System, kind: str) -> None:
    known = {item.instance for item in items}
    for instance in extra:
        if instance not in known:
            raise BadRequest(f"xci:{kind}: {system.id!r:.80} has no such item: {instance[:40]!r}")


def vcpus(system: System) -> int:
    """Raises BadRequest for more than there can be."""
    found = sum(item.quantity or 0 for item in system.items if item.resource == Resource.PROCESSOR) or 1
    if found > MAX_VCPUS:
        raise BadRequest(f"{system.id!r:.80} wants {found} processors; {MAX_VCPUS} at most are possible")
    return found


def cores(system: System) -> tuple[Setting, ...]:
    """VMware's cores per socket, where the processors can be shared out so."""
    wanted = {item.cores_per_socket for item in system.items if item.resource == Resource.PROCESSOR}
    number = wanted.pop() if len(wanted) == 1 else None
    if not number or vcpus(system) % number:
        return ()
    return (Setting(overrides.VM[0].name, "cores-per-socket", Variant("i", number)),)


def memory_mib(system: System) -> int:
    """In MiB, rounded up.  A number without unit that is no sensible number of bytes is one of MiB."""
    items = [item for item in system.items if item.resource == Resource.MEMORY and item.quantity]
    size = mib(sum(_memory_bytes(item) for item in items)) if items else DEFAULT_MEMORY_MIB
    if size > MAX_MEMORY_MIB:
        raise BadRequest(f"{system.id!r:.80} wants {size} MiB of memory, more than is possible")
    return size


def _memory_bytes(item: Item) -> int:
    quantity = item.quantity or 0
    if not item.units:
        return quantity if quantity >= MIB else quantity * MIB
    return size_bytes(quantity, item.units)


def mac(text: str, where: str) -> str:
    """With colons; VirtualBox writes none, others dashes.  Raises BadRequest."""
    plain = text.lower().replace("-", ":")
    if len(plain) == 12:
        plain = ":".join(plain[at : at + 2] for at in range(0, 12, 2))
    if not _MAC.match(plain):
        raise BadRequest(f"{where}: {text[:40]!r} is no MAC address")
    return plain


def checked_products(system: System) -> tuple[Product, ...]:
    """Raises BadRequest for a property that the database cannot hold."""
    seen = set()
    for product in system.products:
        for one in product.properties:
            id = property_id(product.class_, one.key, product.instance)
            if "/" in id or "\0" in id or id in seen:
                raise BadRequest(
                    f"{system.id!r:.80}: product property {id[:80]!r} has a slash, or is there twice"
                )
            seen.add(id)
    return system.products
