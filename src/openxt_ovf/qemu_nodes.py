# SPDX-License-Identifier: GPL-2.0-or-later
"""What qemu-img is told to read: a slice of a file, the format in it, what it builds on.  Pure.

Everything is named, nothing guessed, and where an image may build on another, it is said that it does not.
Source: QEMU docs/interop, `BlockdevOptions` of qapi/block-core.json.
"""

import json
from typing import Any

from openxt_ovf.image_format import Format
from openxt_ovf.slices import Slice

SECTOR = 512
_MAY_HAVE_BACKING = (Format.VMDK, Format.QCOW2)

Node = dict[str, Any]


def file_node(part: Slice, whole_size: int) -> Node:
    """Bytes of a file.  A tar file's padding fills the last sector of a member."""
    file: Node = {"driver": "file", "filename": str(part.path)}
    if part.offset == 0 and part.size == whole_size:
        return file
    size = -(-part.size // SECTOR) * SECTOR
    return {"driver": "raw", "offset": part.offset, "size": size, "file": file}


def image_node(format: Format, file: Node, backing: Node | None = None) -> Node:
    node: Node = {"driver": str(format), "file": file}
    return node | ({"backing": backing} if format in _MAY_HAVE_BACKING else {})


def name_of(node: Node) -> str:
    """As qemu-img takes it for a file name."""
    return "json:" + json.dumps(node)
