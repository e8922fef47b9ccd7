# SPDX-License-Identifier: GPL-2.0-or-later
"""XenStore packets, both sides: bytes ↔ `Packet`, permissions ↔ text, which paths are well formed.

Pure.  A packet is a 16-byte header (op, request id, transaction id, payload length; host byte order)
and at most 4096 bytes.  Source: xen/include/public/io/xs_wire.h and docs/misc/xenstore.txt (4.17).
"""

import enum
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from openxt_core.errors import InvalidArgs
from openxt_core.ids import Domid

PAYLOAD_MAX = 4096
ABSOLUTE_PATH_MAX = 3072
RELATIVE_PATH_MAX = 2048
HEADER_SIZE = 16
_HEADER = struct.Struct("=IIII")


class Op(enum.IntEnum):
    """What a packet asks or tells."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESET_WATCHES = 21
    DIRECTORY_PART = 22


# Errors travel by name; a failure without a name of its own travels as EINVAL.
ERRORS = frozenset(
    {
        "EINVAL", "EACCES", "EEXIST", "EISDIR", "ENOENT", "ENOMEM", "ENOSPC", "EIO",
        "ENOTEMPTY", "ENOSYS", "EROFS", "EBUSY", "EAGAIN", "EISCONN", "E2BIG", "EPERM",
    }
)  # fmt: skip

Access = Literal["n", "r", "w", "b"]
"""None, read, write, both."""

_PERMISSION = re.compile(r"([nrwb])(\d{1,10})\Z", re.ASCII)
_PATH = re.compile(r"(?:/|(?:/[-\w@]+)+)\Z", re.ASCII)
_SPECIAL = re.compile(r"@[-\w@/]*\Z", re.ASCII)
_LOCAL_DOMAIN = re.compile(r"/local/domain/\d{1,5}/")


class WireError(Exception):
    """The peer broke the packet format; the connection is of no further use."""


@dataclass(frozen=True, slots=True)
class Packet:
    op: int  # an Op, unless the peer made it up
    payload: bytes = b""
    req_id: int = 0
    tx_id: int = 0

    def encode(self) -> bytes:
        """Header and payload.  Raises WireError when the payload is too long to be sent."""
        if len(self.payload) > PAYLOAD_MAX:
            raise WireError(f"payload of {len(self.payload)} bytes, {PAYLOAD_MAX} are allowed")
        return _HEADER.pack(self.op, self.req_id, self.tx_id, len(self.payload)) + self.payload

    def reply(self, payload: bytes) -> "Packet":
        return Packet(self.op, payload, self.req_id, self.tx_id)

    def error(self, name: str) -> "Packet":
        return Packet(
            Op.ERROR, (name if name in ERRORS else "EINVAL").encode() + b"\0", self.req_id, self.tx_id
        )


class Splitter:
    """Collects received bytes and hands out whole packets."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Packet]:
        """Packets that are complete now, in order.  Raises WireError for a payload above the limit."""
        self._pending += data
        packets = []
        while (packet := self._take()) is not None:
            packets.append(packet)
        return packets

    def _take(self) -> Packet | None:
        if len(self._pending) < HEADER_SIZE:
            return None
        op, req_id, tx_id, length = _HEADER.unpack_from(self._pending)
        if length > PAYLOAD_MAX:
            raise WireError(f"payload of {length} bytes, {PAYLOAD_MAX} are allowed")
        end = HEADER_SIZE + length
        if len(self._pending) < end:
            return None
        packet = Packet(op, bytes(self._pending[HEADER_SIZE:end]), req_id, tx_id)
        del self._pending[:end]
        return packet


def terminated(words: Iterable[str]) -> bytes:
    """Words as the protocol's list: each followed by a NUL."""
    return b"".join(word.encode() + b"\0" for word in words)


def split_terminated(payload: bytes) -> list[bytes]:
    """The NUL-terminated strings of a payload.  Bytes after the last NUL are not a string."""
    return payload.split(b"\0")[:-1]


def to_text(value: bytes) -> str:
    """A node's value as text.  Bytes that are not UTF-8, which a guest may write, become `\\xNN`."""
    return value.decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Permission:
    """First in a list: the owner, and what everybody else may do.  Then: what one domain may do."""

    domid: Domid
    access: Access

    def __str__(self) -> str:
        return f"{self.access}{self.domid}"

    @property
    def reads(self) -> bool:
        return self.access in "rb"

    @property
    def writes(self) -> bool:
        return self.access in "wb"


def parse_permission(text: str) -> Permission:
    """`r5` → domain 5 may read.  Raises InvalidArgs."""
    match = _PERMISSION.match(text)
    if not match:
        raise InvalidArgs(f"not a XenStore permission: {text[:20]!r}")
    access = next(letter for letter in get_args(Access) if letter == match[1])
    return Permission(Domid(int(match[2])), access)


def format_permissions(permissions: Sequence[Permission]) -> bytes:
    return terminated(map(str, permissions))


def is_node_path(path: str) -> bool:
    """Absolute, no empty element, none but letters, digits and `-_@`, short enough for C xenstored."""
    local = _LOCAL_DOMAIN.match(path)
    return len(path) - (local.end() if local else 0) <= RELATIVE_PATH_MAX and bool(_PATH.match(path))


def check_path(path: str, *, watch: bool = False) -> None:
    """Raises InvalidArgs unless `path` can name a node (or, for a watch, an event such as `@releaseDomain`).

    A path without a leading `/` is taken relative to the caller's own domain.
    """
    absolute = path if path.startswith("/") else f"/local/domain/65535/{path}"
    if watch and _SPECIAL.match(path) and len(path) <= RELATIVE_PATH_MAX:
        return
    if not path or path.startswith("@") or len(path) > ABSOLUTE_PATH_MAX or not is_node_path(absolute):
        raise InvalidArgs(f"not a XenStore path: {path[:80]!r}")
