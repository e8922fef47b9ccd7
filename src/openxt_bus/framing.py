# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a D-Bus message ends in a stream, and what its header says, without unmarshalling its body.

For programs that pass messages on as they came.  Pure; every length is checked before it is used,
since the bytes may come from a guest.  Source: D-Bus specification 1.0, "Message Format".
"""

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from openxt_bus import heads

FIXED_HEADER = 16
MAX_FIELDS = 64 * 1024  # bytes of header fields; the protocol would allow 64 MiB
MAX_NAME = 255


class FramingError(ValueError):
    """The bytes are no D-Bus message, or a larger one than we take.  The stream cannot go on."""


class MessageType(enum.IntEnum):
    METHOD_CALL = 1
    METHOD_RETURN = 2
    ERROR = 3
    SIGNAL = 4


NO_REPLY_EXPECTED = 0x1

_FIELD_NAMES = {
    1: ("path", "o"),
    2: ("interface", "s"),
    3: ("member", "s"),
    4: ("error_name", "s"),
    5: ("reply_serial", "u"),
    6: ("destination", "s"),
    7: ("sender", "s"),
    8: ("signature", "g"),
    9: ("unix_fds", "u"),
}


@dataclass(frozen=True, slots=True)
class Header:
    """The fixed header and the header fields of one message.  An absent field is "" or 0."""

    order: str  # struct's letter: "<" or ">"
    type: int
    flags: int
    serial: int
    body_at: int
    path: str = ""
    interface: str = ""
    member: str = ""
    error_name: str = ""
    reply_serial: int = 0
    destination: str = ""
    sender: str = ""
    signature: str = ""
    unix_fds: int = 0

    @property
    def wants_reply(self) -> bool:
        return self.type == MessageType.METHOD_CALL and not self.flags & NO_REPLY_EXPECTED


def message_size(buffer: bytes | bytearray, at: int, max_size: int) -> int:
    """Bytes of the message that begins at `at`; 0 when not even its fixed header is there yet."""
    if len(buffer) - at < FIXED_HEADER:
        return 0
    order = _order(buffer[at])
    if buffer[at + 3] != 1:
        raise FramingError(f"protocol version {buffer[at + 3]}, not 1")
    body, fields = struct.unpack_from(order + "I4xI", buffer, at + 4)
    size = FIXED_HEADER + _padded(fields) + body
    if fields > MAX_FIELDS or size > max_size:
        raise FramingError(f"message of {size} bytes, more than {max_size}")
    return int(size)


def cut(buffer: bytearray, max_size: int) -> Iterator[bytes]:
    """Take the complete messages off the front of `buffer`."""
    while True:
        size = message_size(buffer, 0, max_size)
        if not size or len(buffer) < size:
            return
        message = bytes(buffer[:size])
        del buffer[:size]
        yield message


def scan(message: bytes) -> Header:
    """The header of one complete message.  Raises FramingError."""
    order = _order(message[0])
    serial, fields_size = struct.unpack_from(order + "II", message, 8)
    if serial == 0:
        raise FramingError("serial 0")
    end = FIXED_HEADER + fields_size
    found: dict[str, str | int] = {}
    try:
        at = FIXED_HEADER
        while at < end:
            at = _field(message, order, at, end, found)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise FramingError(f"broken header field: {error}") from None
    return Header(order, message[1], message[2], serial, _padded(end), **found)  # type: ignore[arg-type]  # each of its type: _field sees to it


def field_places(message: bytes) -> dict[int, int]:
    """Where the value of each header field begins, by the field's code.  `scan` has taken the message."""
    order = _order(message[0])
    end = FIXED_HEADER + struct.unpack_from(order + "I", message, 12)[0]
    places, at = {}, FIXED_HEADER
    while at < end:
        places[message[at]] = at + 4
        at = _field(message, order, at, end, {})
    return places


def _field(message: bytes, order: str, at: int, end: int, found: dict[str, str | int]) -> int:
    """Read one (code, variant) struct; returns where the next one begins."""
    code, signature = message[at], message[at + 1 : at + 4]
    if len(signature) != 3 or signature[0] != 1 or signature[2] != 0:
        raise FramingError(f"header field {code} has no single type")
    kind = chr(signature[1])
    name, wanted = _FIELD_NAMES.get(code, ("", kind))
    if kind != wanted or name in found:
        raise FramingError(f"header field {code} of type {kind!r}, or given twice")
    value, at = _value(message, order, kind, at + 4)
    if at > end:
        raise FramingError(f"header field {code} runs past the header")
    if name:
        found[name] = value
    return _padded(at)


def _value(message: bytes, order: str, kind: str, at: int) -> tuple[str | int, int]:
    if kind == "u":
        return struct.unpack_from(order + "I", message, at)[0], at + 4
    if kind == "g":
        return _text(message, at + 1, message[at])
    if kind in "so":
        return _text(message, at + 4, struct.unpack_from(order + "I", message, at)[0])
    raise FramingError(f"header field of type {kind!r}")


def _text(message: bytes, at: int, size: int) -> tuple[str, int]:
    if size > MAX_FIELDS or message[at + size] != 0:
        raise FramingError("a string of the header does not end where it says")
    return message[at : at + size].decode(), at + size + 1


def first_string(message: bytes, header: Header) -> str | None:
    """The first body argument if it is a string, else None."""
    return next(iter(leading_strings(message, header, 1, "s")), None)


def leading_strings(message: bytes, header: Header, count: int, kinds: str = "so") -> list[str]:
    """The first body arguments as long as they are strings (or object paths), at most `count`."""
    found: list[str] = []
    at = header.body_at
    for code in header.signature[:count]:
        if code not in kinds:
            break
        try:
            size = struct.unpack_from(header.order + "I", message, at)[0]
            text, at = _text(message, at + 4, size)
        except (struct.error, IndexError, UnicodeDecodeError, FramingError):
            break
        found.append(text)
        at = (at + 3) & ~3
    return found


def first_number(message: bytes, header: Header) -> int | None:
    """The first body argument if it is a `u`, else None."""
    if not header.signature.startswith("u") or len(message) < header.body_at + 4:
        return None
    return int(struct.unpack_from(header.order + "I", message, header.body_at)[0])


def error_reply(to: Header, serial: int, name: str, text: str) -> bytes:
    """A little-endian error message that answers the call `to`, as the bus would send it."""
    fields = heads.fields(((heads.ERROR_NAME, name), (heads.SENDER, "org.freedesktop.DBus")), "s")
    return heads.error_answer(serial, to.serial, fields, text.encode())


def _padded(size: int) -> int:
    return (size + 7) & ~7


def _order(byte: int) -> str:
    if byte == 0x6C:  # l
        return "<"
    if byte == 0x42:  # B
        return ">"
    raise FramingError(f"byte order mark {byte:#x}")
