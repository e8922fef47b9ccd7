# SPDX-License-Identifier: GPL-2.0-or-later
"""What the user owns: a VM's configuration as frozen values, made from one dump of its tree.  Pure.

What Xen is asked for is xenvm's business.  Keys and defaults of plain properties stand in
`properties/vm.py`; here are the records that are lists there: disks, nics.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from openxt_core.errors import BadRequest
from openxt_core.ids import Uuid
from openxt_core.spec import Value
from openxt_xenmgr.properties.table import value_in
from openxt_xenmgr.properties.vm import STORED, USER_VM
from openxt_xenmgr.vm.tree import Tree, flag, maybe_text, numbered, parse_int, text

DEFAULT_NETWORK = "/wired/0/bridged"
CDROM = "cdrom"
EMPTY_DISC = "null.iso"  # stands for no disc, whether or not there is such a file
_CD_DEVICE = "hdc"  # what the original took for the CD drive, whatever its devtype

LEGACY_NETWORKS = {
    "brbridged": "/wired/0/bridged",
    "brshared": "/wired/0/shared",
    "brwireless": "/wireless/0/shared",
    "brinternal": "/internal",
}

DISK_TYPES = ("file", "phy", "qcow", "vdi", "aio", "vhd")
DISK_MODES = ("r", "w")
DISK_DEVTYPES = ("disk", CDROM)
SNAPSHOTS = (
    "temporary",
    "temporary-encrypted",
    "coalesce",
    "scripted",
    "scripted-author",
    "scripted-no-snapshot",
)
VIRT_TYPES = ("pv", "pvh", "hvm")


@dataclass(frozen=True, slots=True)
class Disk:
    """A virtual disk, `config/disk/<id>`."""

    id: int
    path: str = ""
    type: str = "vhd"
    mode: str = "w"
    device: str = ""
    devtype: str = "disk"
    snapshot: str = ""  # empty: none
    shared: bool = False
    enabled: bool = True

    @property
    def is_cd(self) -> bool:
        return self.devtype == CDROM or self.device == _CD_DEVICE

    @classmethod
    def of(cls, id: int, tree: Tree) -> "Disk":
        return cls(
            id,
            text(tree, "path"),
            text(tree, "type", "vhd"),
            text(tree, "mode", "w"),
            text(tree, "device"),
            text(tree, "devtype", "disk"),
            _unless(text(tree, "snapshot"), "none"),
            flag(tree, "shared"),
            flag(tree, "enable", True),
        )


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card, `config/nic/<id>`."""

    id: int
    network: str = DEFAULT_NETWORK
    wireless_driver: bool = False
    backend_uuid: str = ""
    backend_name: str = ""
    enabled: bool = True
    mac: str = ""  # empty: one is made up from id and uuid

    @classmethod
    def of(cls, id: int, tree: Tree) -> "Nic":
        network = text(tree, "network") or DEFAULT_NETWORK
        return cls(
            id,
            LEGACY_NETWORKS.get(network, network),
            flag(tree, "wireless-driver"),
            text(tree, "backend-uuid"),
            text(tree, "backend-name"),
            flag(tree, "enable", True),
            text(tree, "mac"),
        )

    def actual_mac(self, uuid: Uuid) -> str:
        return self.mac or generated_mac(self.id, uuid)


@dataclass(frozen=True)
class VmConfig:
    """All that is stored of a VM, at one moment.  `values` holds the plain properties by name."""

    uuid: Uuid
    values: Mapping[str, Value]
    tree: Tree
    disks: tuple[Disk, ...] = ()  # in stored order
    nics: tuple[Nic, ...] = ()  # ascending id

    @classmethod
    def of(cls, uuid: Uuid, tree: Tree) -> "VmConfig":
        return cls(
            uuid,
            {row.name: value_in(row, tree) for row in STORED},
            tree,
            disks_of(tree),
            nics_of(tree),
        )

    def __getitem__(self, name: str) -> Any:
        """The value of a stored property."""
        return self.values[name]

    @property
    def name(self) -> str:
        return str(self["name"])

    @property
    def is_user_vm(self) -> bool:
        return bool(self["type"] == USER_VM)

    @property
    def virt_type(self) -> str:
        """pv, pvh or hvm: `config/virt-type`, else what the older `hvm` says."""
        chosen = text(self.tree, "config/virt-type")
        return chosen if chosen in VIRT_TYPES else ("hvm" if self["hvm"] else "pv")

    @property
    def is_hvm(self) -> bool:
        return self.virt_type == "hvm"


def disks_of(tree: Tree) -> tuple[Disk, ...]:
    return tuple(Disk.of(id, entry) for id, entry in numbered(tree, "config/disk"))


def nics_of(tree: Tree) -> tuple[Nic, ...]:
    found = (Nic.of(id, entry) for id, entry in numbered(tree, "config/nic"))
    return tuple(sorted(found, key=lambda nic: nic.id))


def is_user_type(word: str) -> bool:
    return word in ("svm", "pvm", "")


def check_virt_type(tree: Tree) -> None:
    """Raises BadRequest for a `config/virt-type` that is none."""
    chosen = maybe_text(tree, "config/virt-type")
    if chosen is not None and chosen not in VIRT_TYPES:
        raise BadRequest(f"config/virt-type cannot be {chosen[:60]!r}: allowed are {', '.join(VIRT_TYPES)}")


def generated_mac(nic: int, uuid: Uuid) -> str:
    """The mac of a nic that has none: the same at every start.  Source: OpenXT xenmgr, 2015."""
    nibbles = hashlib.md5(f"{nic} {uuid}".encode(), usedforsecurity=False).hexdigest()
    octets = [int(nibbles[i] + nibbles[i + 12], 16) for i in (0, 2, 1, 7, 6, 4)]
    octets[0] = octets[0] & ~1 | 2  # unicast, locally administered
    return ":".join(f"{octet:02x}" for octet in octets)


def next_id(used: Iterable[int]) -> int:
    """The id of a new disk or nic: highest + 1, the first is 0."""
    return max(used, default=-1) + 1


def free_device(disks: Iterable[Disk]) -> str:
    """The device name for a new disk.  `hdc` is left out: it reads as the CD drive."""
    used = {disk.device for disk in disks}
    names = ["hda", "hdb", "hdd", *(f"xvd{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
    free = next((name for name in names if name not in used), None)
    if free is None:
        raise BadRequest("no device name is free: hda, hdb, hdd and xvda to xvdz are all in use")
    return free


def time_offset_of(tree: Tree) -> int | None:
    return parse_int(text(tree, "time-offset"))


def _unless(value: str, nothing: str) -> str:
    return "" if value == nothing else value
