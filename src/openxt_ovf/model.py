# SPDX-License-Identifier: GPL-2.0-or-later
"""What an OVF descriptor says, in frozen values.  Pure; judges nothing that needs the host or another file.

Names are OVF's own.  Empty texts and None mean: not given.
"""

import enum
from dataclasses import dataclass


class Resource(enum.IntEnum):
    """Kinds of hardware items that are used.  Source: CIM_ResourceAllocationSettingData.ResourceType."""

    PROCESSOR = 3
    MEMORY = 4
    IDE_CONTROLLER = 5
    SCSI_CONTROLLER = 6
    ETHERNET = 10
    CD = 15
    DVD = 16
    DISK = 17
    SATA_CONTROLLER = 20


@dataclass(frozen=True, slots=True)
class File:
    """One file of the package: `chunk_size` when it is cut into `href.000000000`, `.000000001`, …"""

    id: str
    href: str
    size: int | None = None
    compression: str = ""
    chunk_size: int | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """A virtual disk.  `capacity` is a number, or `${id}` of a product property, in `units`."""

    id: str
    file: str = ""
    capacity: str = ""
    units: str = "byte"
    format: str = ""
    parent: str = ""
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Property:
    """A setting of the software inside.  `type` is CIM's word in our spelling: String, Boolean, uint8, …"""

    key: str
    type: str = "String"
    value: str = ""
    is_user_configurable: bool = False
    is_password: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Product:
    class_: str = ""
    instance: str = ""
    properties: tuple[Property, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of virtual hardware, of the chosen configuration."""

    instance: str
    resource: int
    name: str = ""
    quantity: int | None = None
    units: str = ""
    connection: str = ""
    host_resource: str = ""
    address: str = ""
    parent: str = ""
    address_on_parent: int | None = None
    is_automatic: bool = True
    is_read_only: bool = False
    cores_per_socket: int | None = None


@dataclass(frozen=True, slots=True)
class System:
    """A virtual machine.  `install_delay_s`: None without an InstallSection, 0 for no limit."""

    id: str
    name: str = ""
    info: str = ""
    transport: tuple[str, ...] = ()
    products: tuple[Product, ...] = ()
    install_delay_s: int | None = None
    environment_files: tuple[tuple[str, str], ...] = ()  # file id, path
    items: tuple[Item, ...] = ()
    firmware: str = ""


# The XCI extension, namespace http://www.citrix.com/xenclient/ovf/1


@dataclass(frozen=True, slots=True)
class Key:
    """Encryption of a disk: a new key of so many bits, or one that comes as a file of the package."""

    bits: int = 0
    file: str = ""


@dataclass(frozen=True, slots=True)
class XciDisk:
    id: str
    filesystem: str = ""
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Overrides:
    """Properties for one network card or disk, which is named by the InstanceID of its item."""

    instance: str
    properties: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PciMatch:
    """By address, or by what a device is.  Empty means any."""

    bdf: str = ""
    class_: str = ""
    vendor: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class DbEntry:
    section: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class XciSystem:
    id: str
    template: str = ""
    uuid: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    v4v_rules: tuple[str, ...] = ()
    rpc_rules: tuple[str, ...] = ()
    pci: tuple[PciMatch, ...] = ()
    nics: tuple[Overrides, ...] = ()
    disks: tuple[Overrides, ...] = ()
    db_entries: tuple[DbEntry, ...] = ()
    domstore_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Xci:
    appliance_id: str = ""
    version: int | None = None
    disks: tuple[XciDisk, ...] = ()
    networks: tuple[tuple[str, str], ...] = ()  # name, path of the network on this host
    systems: tuple[XciSystem, ...] = ()


@dataclass(frozen=True, slots=True)
class Envelope:
    """`warnings` are for a person: what is asked for and not done."""

    files: tuple[File, ...] = ()
    disks: tuple[Disk, ...] = ()
    networks: tuple[Network, ...] = ()
    licences: tuple[str, ...] = ()
    systems: tuple[System, ...] = ()
    xci: Xci = Xci()
    warnings: tuple[str, ...] = ()
