# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules come in an order that insmod accepts, and the kernel comes out of its wrapping."""

import gzip
import lzma
import struct
from collections.abc import Callable

import pytest
from xenbed.kernel import load_order, vmlinux_of
from xenbed.tools import BedError

DEPENDENCIES = """\
kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko
kernel/fs/jbd2/jbd2.ko: kernel/lib/crc16.ko
kernel/lib/crc16.ko:
kernel/drivers/xen/xen-evtchn.ko:
"""


def test_a_module_comes_after_what_it_needs_and_only_once() -> None:
    order = load_order(DEPENDENCIES, ["jbd2", "ext4"])
    assert order == ["kernel/lib/crc16.ko", "kernel/fs/jbd2/jbd2.ko", "kernel/fs/ext4/ext4.ko"]


def test_a_dash_and_an_underscore_in_a_name_are_the_same() -> None:
    assert load_order(DEPENDENCIES, ["xen_evtchn"]) == ["kernel/drivers/xen/xen-evtchn.ko"]


def test_a_module_that_the_kernel_lacks_is_named() -> None:
    with pytest.raises(BedError, match="no module xen-front"):
        load_order(DEPENDENCIES, ["xen-front"])


def bzimage(payload: bytes) -> bytes:
    setup_sectors = 4
    image = bytearray((setup_sectors + 1) * 512)
    image[0x1F1] = setup_sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 16, len(payload))
    return bytes(image) + bytes(16) + payload


@pytest.mark.parametrize("compress", [lzma.compress, gzip.compress])
def test_the_kernel_comes_out_of_a_bzimage(compress: Callable[[bytes], bytes]) -> None:
    elf = b"\x7fELF" + bytes(range(256))
    size = struct.pack("<I", len(elf))
    assert vmlinux_of(bzimage(compress(elf) + size)) == elf


@pytest.mark.parametrize("image", [bytes(4096), bzimage(b"unknown!"), bzimage(gzip.compress(b"no kernel"))])
def test_what_is_no_kernel_is_refused(image: bytes) -> None:
    with pytest.raises(BedError):
        vmlinux_of(image)
