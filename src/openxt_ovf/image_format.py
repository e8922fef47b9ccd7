# SPDX-License-Identifier: GPL-2.0-or-later
"""What a disk image is, by its first and last bytes, and whether it may be read at all.  Pure.

An image comes from outside and may name other files as its extents or its backing: converting such a one
would copy files of the host into a guest's disk.  So the format is decided here, never guessed by qemu-img,
and what refers to another file is refused, but for a parent that the package itself names.

Sources: VMware "Virtual Disk Format 5.0", Microsoft "Virtual Hard Disk Image Format Specification" 1.0,
QEMU docs/interop/qcow2.txt, VirtualBox Storage/VDICore.h, Microsoft MS-VHDX.
"""

import enum
import re
import struct

from openxt_core.errors import BadRequest

HEAD_BYTES = 64 << 10
TAIL_BYTES = 512
SECTOR = 512


class Format(enum.StrEnum):
    """Values are qemu's names of its drivers."""

    VHD = "vpc"
    VMDK = "vmdk"
    QCOW2 = "qcow2"
    VDI = "vdi"
    VHDX = "vhdx"
    RAW = "raw"


# What packages call formats: the original's words, and URIs by what they contain.
RAW_FILESYSTEM, CPIO = "rawfilesystem", "cpiobz2"
_URI_PARTS = (
    ("vmdk", Format.VMDK),
    ("qcow", Format.QCOW2),
    ("bb676673", Format.VHD),  # http://technet.microsoft.com/en-us/virtualserver/bb676673.aspx
    ("vhdx", Format.VHDX),
    ("vhd", Format.VHD),
    ("linkid=137171", Format.VHD),  # http://go.microsoft.com/fwlink/?LinkId=137171
    ("vdi", Format.VDI),
    ("en.wikipedia.org/wiki/byte", Format.RAW),  # oVirt
    ("raw", Format.RAW),
)


def declared(text: str) -> Format | None:
    """The format that a descriptor names; None when it names none.  Raises BadRequest for an unknown one."""
    lowered = text.lower()
    for part, format in _URI_PARTS:
        if part in lowered:
            return format
    if not text:
        return None
    raise BadRequest(
        f"unknown disk format {text[:120]!r}: known are vhd, {RAW_FILESYSTEM}, {CPIO}, and the URIs of VMDK, "
        "VHD, VHDX, qcow2, VDI and raw images"
    )


def found(head: bytes, tail: bytes) -> Format:
    """By magic bytes; what has none is raw."""
    if head[:4] in (b"KDMV", b"COWD") or head.startswith(b"# Disk DescriptorFile"):
        return Format.VMDK
    if head[:4] == b"QFI\xfb":
        return Format.QCOW2
    if head[:8] == b"vhdxfile":
        return Format.VHDX
    if head[64:68] == b"\x7f\x10\xda\xbe":
        return Format.VDI
    if head[:8] == b"conectix" or tail[:8] == b"conectix":
        return Format.VHD
    return Format.RAW


def checked(head: bytes, tail: bytes, wanted: Format | None, has_parent: bool) -> Format:
    """The image's format.  Raises BadRequest for a wrong or a dangerous one.

    `head` and `tail` are its first HEAD_BYTES and last TAIL_BYTES.
    """
    format = found(head, tail)
    if wanted is not None and format is not wanted:
        raise BadRequest(f"the package calls it a {wanted.name} image, but it is {_named(format)}")
    check = _CHECKS.get(format)
    if check is not None:
        check(head, tail, has_parent)
    return format


def _named(format: Format) -> str:
    return "none" if format is Format.RAW else f"a {format.name} image"


def _check_vmdk(head: bytes, _tail: bytes, has_parent: bool) -> None:
    if head[:4] != b"KDMV" or len(head) < 79:
        raise BadRequest("only VMDK images in one sparse file are read (streamOptimized, monolithicSparse)")
    _, _, capacity, _, at, size = struct.unpack_from("<IIQQQQ", head, 4)
    if capacity == 0:
        raise BadRequest("the VMDK image refers to other files as its extents")
    text = head[at * SECTOR : (at + size) * SECTOR] if at else b""
    if at and (at + size) * SECTOR > len(head):
        raise BadRequest("the VMDK image's descriptor is not at its beginning")
    # QEMU looks for this word in the sectors after the first, wherever the header says that the descriptor is
    if b"parentFileNameHint" in head and not has_parent:
        raise BadRequest("the VMDK image builds on another file (parentFileNameHint)")
    for extent in re.findall(rb"(?im)^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+(\w+)", text):
        if extent.upper() not in (b"SPARSE", b"ZERO"):
            raise BadRequest(f"the VMDK image has an extent of kind {extent[:20].decode(errors='replace')!r}")


def _check_qcow2(head: bytes, _tail: bytes, has_parent: bool) -> None:
    if len(head) < 80:
        raise BadRequest("the qcow2 image is cut off")
    version, backing = struct.unpack_from(">IQ", head, 4)
    if backing and not has_parent:
        raise BadRequest("the qcow2 image builds on another file")
    incompatible = struct.unpack_from(">Q", head, 72)[0] if version >= 3 else 0
    if incompatible & 0x4:
        raise BadRequest("the qcow2 image keeps its data in another file")
    if struct.unpack_from(">I", head, 32)[0]:
        raise BadRequest("the qcow2 image is encrypted")


VHD_FIXED, VHD_DYNAMIC, VHD_DIFFERENCING = 2, 3, 4


def is_differencing_vhd(tail: bytes) -> bool:
    """Of an image that has been checked."""
    return tail[:8] == b"conectix" and struct.unpack_from(">I", tail, 60)[0] == VHD_DIFFERENCING


def _check_vhd(head: bytes, tail: bytes, has_parent: bool) -> None:
    """The footer must be whole and right: it says which kind of image this is."""
    footer = tail if tail[:8] == b"conectix" else head[:SECTOR]
    if len(footer) < SECTOR:
        raise BadRequest("the VHD image is cut off")
    (kind, checksum) = struct.unpack_from(">II", footer, 60)
    if checksum != ~(sum(footer) - sum(footer[64:68])) & 0xFFFFFFFF:
        raise BadRequest("the VHD image's footer is damaged")
    if kind == VHD_DIFFERENCING and not has_parent:
        raise BadRequest("the VHD image is a differencing one, and the package names no parent (parentRef)")
    if kind not in (VHD_FIXED, VHD_DYNAMIC, VHD_DIFFERENCING):
        raise BadRequest(f"the VHD image is of an unknown kind, {kind}")


def _check_vdi(head: bytes, _tail: bytes, _has_parent: bool) -> None:
    if len(head) < 80 or struct.unpack_from("<I", head, 76)[0] not in (1, 2):
        raise BadRequest("only dynamic and fixed VDI images are read, no differencing ones")


_CHECKS = {
    Format.VMDK: _check_vmdk,
    Format.QCOW2: _check_qcow2,
    Format.VHD: _check_vhd,
    Format.VDI: _check_vdi,
}
