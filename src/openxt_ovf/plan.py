# SPDX-License-Identifier: GPL-2.0-or-later
"""What shall be on the host when an appliance is installed, in frozen values.  Pure.

`to_template` makes it, `install` carries it out.  Paths are those of a dom0, below no other root.
"""

from dataclasses import dataclass

from openxt_core.signature import Variant
from openxt_ovf.model import DbEntry, Disk, File, Key, PciMatch, Product

DISKS = "/storage/disks"
ISOS = "/storage/isos"
KEYS = "/config/platform-crypto-keys"
DOMSTORE = "/config/dom-store"
ENVIRONMENT_FILES = "/storage/ovffiles"

DEFAULT_TEMPLATE = "new-vm-empty"
DEFAULT_NETWORK = "/wired/0/bridged"


@dataclass(frozen=True, slots=True)
class Setting:
    """A property to be set."""

    interface: str
    name: str
    value: Variant


@dataclass(frozen=True, slots=True)
class Image:
    """A disk image to be made.  `system` and `index` say whose it is; a shared one is nobody's.

    `capacity` in bytes; None: what the file of the package has.  `parents`: what the disk builds on, nearest
    first.
    """

    disk: Disk
    path: str
    file: File | None = None
    capacity: int | None = None
    parents: tuple[tuple[Disk, File], ...] = ()
    filesystem: str = ""
    key: Key | None = None
    key_file: File | None = None
    system: str = ""
    index: int | None = None

    def key_path(self, bits: int) -> str:
        """Where blktap and xenvm look for the image's key."""
        return f"{KEYS}/{self.path.rpartition('/')[2].removesuffix('.vhd')},aes-xts-plain,{bits}.key"


@dataclass(frozen=True, slots=True)
class Copy:
    """A file of the package that becomes one of the host."""

    file: File
    path: str


@dataclass(frozen=True, slots=True)
class Drive:
    """A disk with an image, or a CD drive; `iso` is a path, empty when no disc is in it."""

    image: Image | None = None
    iso: str = ""
    is_read_only: bool = False
    is_enabled: bool = True
    settings: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True)
class Nic:
    """`network`: a path of this host; None leaves it as xenmgr has it."""

    network: str | None = None
    is_enabled: bool = True
    settings: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True)
class Vm:
    """`uuid` is the VM's in any case; `is_uuid_fixed` when the package names it."""

    system: str
    uuid: str
    is_uuid_fixed: bool
    name: str
    template: str
    memory_mib: int
    vcpus: int
    has_iso_transport: bool
    settings: tuple[Setting, ...] = ()
    nics: tuple[Nic, ...] = ()
    drives: tuple[Drive, ...] = ()
    v4v_rules: tuple[str, ...] = ()
    rpc_rules: tuple[str, ...] = ()
    pci: tuple[PciMatch, ...] = ()
    db_entries: tuple[DbEntry, ...] = ()
    files: tuple[Copy, ...] = ()
    products: tuple[Product, ...] = ()
    install_delay_s: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """An appliance as it shall be.  `images` and `isos` are in the order of their first use, each once."""

    id: str
    version: int
    vms: tuple[Vm, ...]
    images: tuple[Image, ...]
    isos: tuple[Copy, ...] = ()
    licences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
