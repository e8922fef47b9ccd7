# SPDX-License-Identifier: GPL-2.0-or-later
"""The first block of a file that holds a suspended VM: whose it is, and what must be there to go on.  Pure.

A file is one block of 4096 bytes, Xen's migration stream (version 2), then the device model's state, if the
VM has one.  The block: 16 bytes of signature; little-endian u32 version, u32 CRC of what follows it in the
block, u64 bytes of the stream, u64 bytes of the device model's state, u32 CRC of both, u32 bytes of the
description; then the description in JSON, then zeros.  CRCs are those of zlib.
"""

import json
import struct
import zlib
from dataclasses import asdict, dataclass, replace
from typing import Any

from openxt_core.ids import Uuid, parse_uuid
from openxt_xen.hypervisor import Kind

BLOCK = 4096
SIGNATURE = b"OPENXT-VM-IMAGE\n"
VERSION = 1

_HEAD = struct.Struct("<16sII")
_REST = struct.Struct("<QQII")
_ROOM = BLOCK - _HEAD.size - _REST.size


@dataclass(frozen=True, slots=True)
class Machine:
    """What the guest was made of: it finds the same when it goes on, whatever the config says now."""

    uuid: Uuid
    kind: Kind
    vcpus: int
    memory_kib: int  # the target of its balloon, with its video memory
    static_max_kib: int
    mark: str = ""  # of the operation that wrote it

    def with_target(self, kib: int) -> "Machine":
        """Never above the most that it may have."""
        return replace(self, memory_kib=min(kib, self.static_max_kib))


@dataclass(frozen=True, slots=True)
class Header:
    machine: Machine
    stream_bytes: int
    model_bytes: int = 0  # of the device model's state
    crc: int = 0


def as_block(header: Header) -> bytes:
    """Raises ValueError when the description does not fit."""
    text = json.dumps(asdict(header.machine)).encode()
    if len(text) > _ROOM:
        raise ValueError(f"the description has {len(text)} bytes, {_ROOM} fit")
    rest = _REST.pack(header.stream_bytes, header.model_bytes, header.crc, len(text)) + text
    rest = rest.ljust(BLOCK - _HEAD.size, b"\0")
    return _HEAD.pack(SIGNATURE, VERSION, zlib.crc32(rest)) + rest


def from_block(block: bytes) -> Header:
    """Raises ValueError with the reason why this is not the beginning of such a file."""
    if len(block) < BLOCK:
        raise ValueError("it is too short")
    signature, version, crc = _HEAD.unpack_from(block)
    if signature != SIGNATURE:
        raise ValueError("it does not hold a suspended VM")
    if version != VERSION:
        raise ValueError(f"it has format {version}, not {VERSION}")
    if zlib.crc32(block[_HEAD.size : BLOCK]) != crc:
        raise ValueError("its first block is damaged")
    stream, model, crc, length = _REST.unpack_from(block, _HEAD.size)
    start = _HEAD.size + _REST.size
    return Header(_machine(json.loads(block[start : start + length])), stream, model, crc)


def _machine(found: dict[str, Any]) -> Machine:
    try:
        return Machine(
            parse_uuid(str(found["uuid"])),
            Kind(found["kind"]),
            int(found["vcpus"]),
            int(found["memory_kib"]),
            int(found["static_max_kib"]),
            str(found["mark"]),
        )
    except KeyError as error:
        raise ValueError(f"its description lacks {error}") from error
