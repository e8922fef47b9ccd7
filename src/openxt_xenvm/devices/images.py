# SPDX-License-Identifier: GPL-2.0-or-later
"""Which format a disk image has, by its first and last bytes.  Pure.

The disk's type says what may be in the file: a guest that writes another format's header into a raw disk
must not have it believed.  Sources: QEMU, docs/interop/qcow2.txt; Microsoft, Virtual Hard Disk Image Format.
"""

QCOW_MAGIC = b"QFI\xfb"
QCOW_VERSIONS = {1: "qcow", 2: "qcow2", 3: "qcow2"}
VHD_COOKIE = b"conectix"
VHD_TYPE_AT, VHD_DIFFERENCING = 60, 4
FOOTER = 512


def image_format(type_: str, head: bytes, foot: bytes) -> str:
    """QEMU's word for the format.  `foot`: the last 512 bytes.  Raises ValueError with the reason."""
    if type_ == "qcow":
        return _qcow(head)
    if type_ == "vhd":
        return _vhd(foot)
    return "raw"


def _qcow(head: bytes) -> str:
    version = int.from_bytes(head[4:8], "big")
    if head[:4] != QCOW_MAGIC or version not in QCOW_VERSIONS:
        raise ValueError("is not a qcow image")
    return QCOW_VERSIONS[version]


def _vhd(foot: bytes) -> str:
    if not foot.startswith(VHD_COOKIE):
        raise ValueError("is not a vhd image")
    if int.from_bytes(foot[VHD_TYPE_AT : VHD_TYPE_AT + 4], "big") == VHD_DIFFERENCING:
        raise ValueError("is a differencing vhd image, which needs blktap's tap-ctl")
    return "vpc"
