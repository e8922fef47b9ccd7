# SPDX-License-Identifier: GPL-2.0-or-later
"""A message's head and header fields as bytes: what stays the same is made once and sent often.  Pure."""

import struct
from collections.abc import Iterable
from typing import Final

PATH: Final = b"\x01\x01o\0"
INTERFACE: Final = b"\x02\x01s\0"
MEMBER: Final = b"\x03\x01s\0"
ERROR_NAME: Final = b"\x04\x01s\0"
DESTINATION: Final = b"\x06\x01s\0"
SENDER: Final = b"\x07\x01s\0"
_SIGNATURE: Final = b"\x08\x01g\0"

HEAD_SIZE: Final = 16
"""What comes before the header fields."""
read_head = struct.Struct("<4I").unpack_from
"""Of a little-endian message: how it begins, bytes of its body, its serial, bytes of its header fields."""
PLAIN_CALL: Final = int.from_bytes(b"l\1\0\1", "little")
"""How a message begins: little-endian, a method call, no flags (an answer is wanted), protocol 1."""

# Of an answer, little-endian: kind (no reply expected, protocol 1), sizes of body and fields with its serial
# between them; then its one field that is another each time, the serial that it answers.
ANSWER: Final = struct.Struct("<6I").pack
RETURN, ERROR = (int.from_bytes(b"l%c\1\1" % kind, "little") for kind in (2, 3))
REPLY_SERIAL: Final = int.from_bytes(b"\x05\x01u\0", "little")


def fields(texts: Iterable[tuple[bytes, str | None]], signature: str) -> bytes:
    """Those that there are, each where it may begin when the first begins at a multiple of 8."""
    found = b""
    for kind, text in texts:
        if text:
            raw = text.encode()
            found = padded(found) + struct.pack("<4sI", kind, len(raw)) + raw + b"\0"
    if signature:
        found = padded(found) + struct.pack("<4sB", _SIGNATURE, len(signature)) + signature.encode() + b"\0"
    return found


def padded(raw: bytes) -> bytes:
    """Up to where the next field, or the body, begins."""
    return raw + bytes(-len(raw) % 8)


def error_answer(serial: int, request_serial: int, fields: bytes, text: bytes) -> bytes:
    """A whole error message with these fields, among them the signature `s`."""
    content = struct.pack("<I", len(text)) + text + b"\0"
    head = ANSWER(ERROR, len(content), serial, 8 + len(fields), REPLY_SERIAL, request_serial)
    return head + padded(fields) + content
