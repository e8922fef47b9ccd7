# SPDX-License-Identifier: GPL-2.0-or-later
"""Differencing VHDs, which qemu-img cannot read: which sectors such an image has itself.  Pure.

A disk above another is laid over its parent sector by sector; the parent is the one that the package names,
and must be the one that the image was made above.  Names of parents inside the image are not looked at.

Source: Microsoft, "Virtual Hard Disk Image Format Specification" 1.0.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from openxt_core.errors import BadRequest

SECTOR = 512
HEADER_BYTES = 1024
UNUSED = 0xFFFFFFFF
BLOCK_SIZES = range(4096, (16 << 20) + 1)
MAX_TABLE = 4 << 20  # entries: 2040 GiB in blocks of 512 KiB


@dataclass(frozen=True, slots=True)
class Header:
    """Of an image that is no fixed one: where its table of blocks is, what it was made above."""

    table_at: int
    table_entries: int
    block_bytes: int
    parent_id: bytes

    @property
    def bitmap_bytes(self) -> int:
        """Before each block: a bit a sector, the highest first; in whole sectors."""
        bits = self.block_bytes // SECTOR
        return -(-bits // (8 * SECTOR)) * SECTOR


def image_id(footer: bytes) -> bytes:
    return footer[68:84]


def header_at(footer: bytes) -> int:
    """Raises BadRequest for an image without a header."""
    (at,) = struct.unpack_from(">Q", footer, 16)
    if at == (1 << 64) - 1:
        raise BadRequest("the VHD image has no table of blocks")
    return int(at)


def read_header(data: bytes) -> Header:
    """Raises BadRequest for what is none."""
    if len(data) < HEADER_BYTES or data[:8] != b"cxsparse":
        raise BadRequest("the VHD image's header is damaged")
    table_at, _, entries, block, checksum = struct.unpack_from(">QIIII", data, 16)
    if checksum != ~(sum(data) - sum(data[36:40])) & 0xFFFFFFFF:
        raise BadRequest("the VHD image's header is damaged")
    if block not in BLOCK_SIZES or block & (block - 1) or not entries <= MAX_TABLE:
        raise BadRequest("the VHD image's header has impossible sizes")
    return Header(table_at, entries, block, data[40:56])


def own_sectors(
    header: Header, table: bytes, read: Callable[[int, int], bytes]
) -> Iterator[tuple[int, bytes]]:
    """Runs of bytes that the image has itself, each with its place on the disk.

    `read` gives so many bytes from a place in the image, or fewer at its end.
    """
    for number in range(header.table_entries):
        (sector,) = struct.unpack_from(">I", table, 4 * number)
        if sector == UNUSED:
            continue
        block = read(sector * SECTOR, header.bitmap_bytes + header.block_bytes)
        if len(block) < header.bitmap_bytes + header.block_bytes:
            raise BadRequest("the VHD image is cut off")
        bitmap, data = block[: header.bitmap_bytes], block[header.bitmap_bytes :]
        for first, last in runs(bitmap, header.block_bytes // SECTOR):
            yield number * header.block_bytes + first * SECTOR, data[first * SECTOR : last * SECTOR]


def runs(bitmap: bytes, count: int) -> Iterator[tuple[int, int]]:
    """Stretches of set bits, of the first `count`: first bit and the one after the last."""
    start = None
    for at in range(count):
        is_set = bitmap[at >> 3] >> (7 - (at & 7)) & 1
        if is_set and start is None:
            start = at
        elif not is_set and start is not None:
            yield start, at
            start = None
    if start is not None:
        yield start, count
