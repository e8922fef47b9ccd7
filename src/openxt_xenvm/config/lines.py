# SPDX-License-Identifier: GPL-2.0-or-later
"""How one line of a list key turns into an item.  Pure; a reader raises ValueError with the reason.

Network cards need each other and the VM's uuid as well: that is in nics.py.
"""

import re

from openxt_xenvm.config.model import (
    Affinity,
    CpuidMask,
    Disk,
    Nic,
    Pair,
    PciAddress,
    PciDevice,
    Span,
)
from openxt_xenvm.config.values import read_bool, read_natural

DISK_TYPES = ("phy", "file", "qcow", "vhd", "aio", "vdi")
SNAPSHOTS = (
    "none",
    "temporary",
    "temporary-encrypted",
    "coalesce",
    "scripted",
    "scripted-author",
    "scripted-no-snapshot",
)
REGISTERS = ("eax", "ebx", "ecx", "edx")
MAX_PCPU = 63
MAX_PORT = 0xFFFF

_VIRTPATH = re.compile(r"(hd[a-t][0-9]{0,2}|sd[a-p][0-9]{0,2}|xvd[a-p][0-9]{0,2}|[0-9]{1,9})\Z", re.ASCII)
_DEVICE_NODE = re.compile(r"(/dev/)?[A-Za-z0-9_./-]+\Z", re.ASCII)
_PCI = re.compile(r"([0-9a-f]{1,4}):([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])\Z", re.ASCII | re.IGNORECASE)
_MASK = re.compile(r"[01xsk]{32}\Z", re.ASCII)
_NODE = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9_@/-]*\Z", re.ASCII)
MAX_NODE = 256


def read_pair(text: str) -> Pair:
    """`K=V`, where K can be a xenstore node."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError("expected K=V")
    return Pair(read_node(name.strip()), value.strip())


def read_option(text: str) -> Pair:
    """`K=V` or `K`."""
    name, equals, value = text.partition("=")
    if not name:
        raise ValueError("expected K=V or K")
    return Pair(name, value, bool(equals))


def read_node(text: str) -> str:
    """A relative xenstore path, without `..` tricks: it is put behind one of our own."""
    if not _NODE.match(text) or len(text) > MAX_NODE or "//" in text or text.endswith("/"):
        raise ValueError(f"{text[:60]!r} is not a relative xenstore path")
    return text


def read_disk(text: str) -> Disk:
    """`PHYSPATH:PHYSTYPE:VIRTPATH:MODE:DEVTYPE[:SNAPSHOT][:K=V]…`"""
    fields = text.split(":")
    if len(fields) < 5:
        raise ValueError("expected PHYSPATH:PHYSTYPE:VIRTPATH:MODE:DEVTYPE:SNAPSHOT[:K=V]…")
    path, kind, virtpath, mode, devtype = fields[:5]
    snapshot, extras = _snapshot(fields[5:])
    _one_of("disk type", kind, DISK_TYPES)
    _one_of("mode", mode, ("r", "w"))
    _one_of("device type", devtype, ("disk", "cdrom"))
    if not _VIRTPATH.match(virtpath) and not _DEVICE_NODE.match(virtpath):
        raise ValueError(f"{virtpath[:60]!r} is not a virtual disk name")
    return _with_extras(Disk(path, kind, virtpath, mode == "w", devtype == "cdrom", snapshot), extras)


def _snapshot(fields: list[str]) -> tuple[str, dict[str, str]]:
    """The snapshot mode ("" for none) and the K=V fields.  The documentation's form has no snapshot field."""
    first = fields[0] if fields else ""
    rest = fields if "=" in first else fields[1:]
    mode = "" if "=" in first or first == "none" else first
    if mode:
        _one_of("snapshot mode", mode, SNAPSHOTS)
    extras = dict(_split_item(item) for item in rest if item)
    return mode, extras


def _with_extras(disk: Disk, extras: dict[str, str]) -> Disk:
    known = {"backend-domid", "key-file", "cipher", "key-size", "key-dir"}
    unknown = sorted(extras.keys() - known)
    if unknown:
        raise ValueError(f"a disk has no option {unknown[0][:60]!r}")
    return Disk(
        disk.path,
        disk.type,
        disk.virtpath,
        disk.writable,
        disk.is_cdrom,
        disk.snapshot,
        backend_domid=read_natural(extras.get("backend-domid", "0")),
        key_file=extras.get("key-file", ""),
        cipher=extras.get("cipher", disk.cipher),
        key_size=read_natural(extras.get("key-size", str(disk.key_size))),
        key_dirs=tuple(filter(None, extras.get("key-dir", "").split(","))),
    )


def _one_of(what: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise ValueError(f"{what} {word[:60]!r} is none of {', '.join(words)}")


def _split_item(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise ValueError(f"{item[:60]!r} is not K=V")
    return name.strip(), value.strip()


def read_nic(text: str) -> Nic:
    """Comma list of `K=V`, possibly empty.  Unknown keys are ignored."""
    items = dict(_split_item(item) for item in text.split(",")) if text else {}
    return Nic(
        id=read_natural(items["id"]) if "id" in items else None,
        network=items.get("network", ""),
        bridge=items.get("bridge", ""),
        model=items.get("model", ""),
        mac=items.get("mac", ""),
        is_wireless=read_bool(items.get("wireless", "false")),
        backend_domid=read_natural(items.get("backend-domid", "0")),
    )


def read_pci_address(text: str) -> PciAddress:
    """`DDDD:BB:SS.F`, hexadecimal."""
    match = _PCI.match(text)
    if not match:
        raise ValueError(f"{text[:60]!r} is not a PCI address DDDD:BB:SS.F")
    domain, bus, slot, function = (int(part, 16) for part in match.groups())
    if slot > 31:
        raise ValueError(f"PCI slot {slot:#x} is above 1f")
    return PciAddress(domain, bus, slot, function)


def read_pci(text: str) -> PciDevice:
    """`DEVID[,bind],DDDD:BB:SS.F[,K=V]…`"""
    group, *rest = (part.strip() for part in text.split(","))
    bind = bool(rest) and rest[0] == "bind"
    if bind:
        rest = rest[1:]
    if not rest:
        raise ValueError("expected DEVID[,bind],DDDD:BB:SS.F[,K=V]…")
    options = {name: read_natural(value) for name, value in map(_split_item, rest[1:])}
    unknown = sorted(options.keys() - {"msitranslate", "power_mgmt", "guest_slot", "vdevfn"})
    if unknown:
        raise ValueError(f"a PCI device has no option {unknown[0][:60]!r}")
    return PciDevice(read_natural(group), read_pci_address(rest[0]), bind, **options)


def read_cpuid(text: str) -> CpuidMask:
    """`LEAF[+SUBLEAF]:REG=MASK[,REG=MASK]…`, masks of 32 characters, most significant bit first."""
    where, colon, registers = text.partition(":")
    if not colon:
        raise ValueError("expected LEAF[+SUBLEAF]:REG=MASK[,REG=MASK]…")
    leaf, plus, subleaf = where.partition("+")
    masks: dict[str, str] = {}
    for item in registers.split(","):
        register, mask = _split_item(item)
        _one_of("register", register, REGISTERS)
        if not _MASK.match(mask):
            raise ValueError(f"mask {mask[:60]!r} is not 32 characters of 0, 1, x, s, k")
        masks[register] = mask
    eax, ebx, ecx, edx = (masks.get(register) for register in REGISTERS)
    return CpuidMask(_u32(leaf), _u32(subleaf) if plus else None, (eax, ebx, ecx, edx))


def _u32(text: str) -> int:
    value = read_natural(text.strip())
    if value > 0xFFFFFFFF:
        raise ValueError(f"{value:#x} does not fit in 32 bits")
    return value


def read_affinity(text: str) -> Affinity:
    """`VCPU:PCPU,PCPU,…`"""
    vcpu, colon, pcpus = text.partition(":")
    if not colon:
        raise ValueError("expected VCPU:PCPU,PCPU,…")
    numbers = tuple(read_natural(part.strip()) for part in pcpus.split(","))
    if max(numbers) > MAX_PCPU:
        raise ValueError(f"physical cpu {max(numbers)} is above {MAX_PCPU}")
    return Affinity(read_natural(vcpu.strip()), numbers)


def read_span(text: str) -> Span:
    """`FIRST-LAST`, both included."""
    first, dash, last = text.partition("-")
    if not dash:
        raise ValueError("expected FIRST-LAST")
    span = Span(read_natural(first.strip()), read_natural(last.strip()))
    if span.last < span.first:
        raise ValueError(f"the last, {span.last:#x}, is below the first, {span.first:#x}")
    return span


def read_ports(text: str) -> Span:
    span = read_span(text)
    if span.last > MAX_PORT:
        raise ValueError(f"I/O port {span.last:#x} is above {MAX_PORT:#x}")
    return span
