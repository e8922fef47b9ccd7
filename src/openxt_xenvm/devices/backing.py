# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to stand between a disk's image and blkback, which can open nothing but block devices.  Pure."""

import enum
from dataclasses import dataclass
from pathlib import PurePosixPath

from openxt_xenvm.config.model import Disk


class Layer(enum.StrEnum):
    """Each makes a device, or a file, from the one below it."""

    SNAPSHOT = "snapshot"  # a file that takes the writes; thrown away at the end
    SCRIPTED = "scripted"  # the same, as a program of the host wants it
    LOOP = "loop"  # a block device before a raw file
    IMAGE = "image"  # … before a file of another format
    CRYPT = "crypt"  # … that deciphers another


@dataclass(frozen=True, slots=True)
class Attachment:
    """A device of dom0 that stands, or may stand, between a disk's image and its backend."""

    devid: int  # of the disk
    level: int  # 0 is the one nearest to the image
    layer: str
    device: str
    source: str  # the file, or the device below


IMAGE_TYPES = frozenset({"qcow", "vhd"})
RAW_FILES = frozenset({"file", "aio"})
ENCIPHERED = "temporary-encrypted"
FORGOTTEN = frozenset({"temporary", "coalesce", ENCIPHERED})
"""What is written is thrown away at the end.  `coalesce` was to merge it; that was never written, and what
there was of it ended as `temporary` does.  Source: OpenXT xenvm, 2015."""
SCRIPTED_SNAPSHOTS = frozenset({"scripted", "scripted-author", "scripted-no-snapshot"})
OVERLAY_SUFFIX = ".snap.tmp.qcow2"


def layers(disk: Disk) -> tuple[Layer, ...]:
    """From the image upwards; none for a plain block device, or one that another domain serves."""
    if disk.backend_domid:
        return ()
    below = _snapshot(disk)
    raw = disk.type in RAW_FILES and Layer.SNAPSHOT not in below
    if raw:
        below.append(Layer.LOOP)
    elif disk.type != "phy" or Layer.SNAPSHOT in below:
        below.append(Layer.IMAGE)
    if disk.key_file or disk.key_dirs:
        below.append(Layer.CRYPT)
    return tuple(below)


def _snapshot(disk: Disk) -> list[Layer]:
    if disk.snapshot in FORGOTTEN:
        return [Layer.SNAPSHOT]
    return [Layer.SCRIPTED] if disk.snapshot in SCRIPTED_SNAPSHOTS else []


def overlay_of(image: str) -> str:
    """Where a temporary snapshot keeps what is written: beside the image, another ending.

    Source of the name: OpenXT xenvm, 2015; the format, and so the ending, is ours.
    """
    path = PurePosixPath(image)
    return str(path.with_name(f"{path.name.rpartition('.')[0] or path.name}{OVERLAY_SUFFIX}"))


def key_names(image: str) -> tuple[str, ...]:
    """Names of a disk's key in a folder of keys.  Source: OpenXT xenvm and blktap, 2015."""
    name = PurePosixPath(image).name.partition(".")[0]
    return tuple(f"{name},aes-xts-plain,{bits}.key" for bits in (512, 256))


def cipher_of_key(key: str) -> tuple[str, int]:
    """Cipher and bits, as the name of a key of a folder tells them."""
    _, cipher, bits = PurePosixPath(key).name.rsplit(",", 2)
    return cipher, int(bits.removesuffix(".key"))


def mapping_of(device: str) -> str:
    """The device that deciphers another.  Source of the name: OpenXT xenvm, 2015."""
    return f"/dev/mapper/{PurePosixPath(device).name}.crypt"
