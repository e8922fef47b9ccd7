# SPDX-License-Identifier: GPL-2.0-or-later
"""Lay a differencing VHD over what is below it: a plain file with the whole disk, holes left out."""

from pathlib import Path

from openxt_core.errors import BadRequest
from openxt_ovf import programs, vhd
from openxt_ovf.image_format import TAIL_BYTES
from openxt_ovf.qemu_nodes import Node, name_of
from openxt_ovf.slices import Slice


def flattened(part: Slice, below: Node, below_id: bytes, target: Path) -> None:
    """`below_id`: the identity of the image below, empty when it has none.

    Raises BadRequest for an image that was made above another one, or is damaged.
    """
    header = vhd.read_header(_read(part, vhd.header_at(part.tail(TAIL_BYTES)), vhd.HEADER_BYTES))
    if below_id and header.parent_id != below_id:
        raise BadRequest("the VHD image was made above another image than its parentRef names")
    table = _read(part, header.table_at, 4 * header.table_entries)
    if len(table) < 4 * header.table_entries:
        raise BadRequest("the VHD image is cut off")
    programs.run("qemu-img", "convert", "-q", "-O", "raw", name_of(below), str(target))
    size = target.stat().st_size
    with open(target, "r+b") as file:
        for at, data in vhd.own_sectors(header, table, lambda at, count: _read(part, at, count)):
            if at + len(data) > size:
                data = data[: max(0, size - at)]
            file.seek(at)
            file.write(data)


def _read(part: Slice, at: int, count: int) -> bytes:
    count = max(0, min(count, part.size - at))
    return b"".join(Slice(part.path, part.offset + at, count).chunks())
