# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus values and messages ↔ bytes, for programs that must start in milliseconds.

Daemons use dbus-fast's compiled codec; loading it costs more than a whole `busctl call`.  Pure, and
imports next to nothing.  Reads both byte orders, writes little-endian.
Source: D-Bus specification 1.0, "Marshaling (Wire Format)".
"""

from __future__ import annotations

from struct import Struct, error, pack, unpack_from

from openxt_bus.names import is_bus_name, is_interface_name, is_member_name, is_object_path
from openxt_core.errors import InvalidArgs
from openxt_core.signature import Type, Variant, check_body, parse, single

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
MAX_MESSAGE = 128 * 1024 * 1024
MAX_ARRAY = 64 * 1024 * 1024
MAX_DEPTH = 64

_FORMATS = {
    "y": "B",
    "b": "I",
    "n": "h",
    "q": "H",
    "i": "i",
    "u": "I",
    "x": "q",
    "t": "Q",
    "d": "d",
    "h": "I",
}
_ALIGNMENTS = {"y": 1, "g": 1, "v": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8}
_FIXED = Struct("<cBBBIII")
_FIELD_TYPES = {1: "o", 2: "s", 3: "s", 4: "s", 5: "u", 6: "s", 7: "s", 8: "g", 9: "u"}
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE = range(1, 9)
_NAMES = {
    PATH: (is_object_path, "an object path"),
    INTERFACE: (is_interface_name, "an interface name"),
    MEMBER: (is_member_name, "a member name"),
    ERROR_NAME: (is_interface_name, "an error name"),
    DESTINATION: (is_bus_name, "a bus name"),
}
"""Header fields for which a bus cuts the connection when they are wrong."""


class CodecError(ValueError):
    """The bytes are no D-Bus message."""


class Message:
    """One message: its type, its header fields by number, and its body.

    A header field that the specification does not name is kept as a Variant, so that it can be sent on.
    """

    __slots__ = ("body", "fields", "flags", "serial", "type")

    def __init__(
        self, kind: int, serial: int, fields: dict[int, Any], body: Sequence[Any] = (), flags: int = 0
    ) -> None:
        self.type = kind
        self.serial = serial
        self.fields = fields
        self.body = body
        self.flags = flags


def alignment(kind: Type) -> int:
    """Bytes that a value of this type is aligned to."""
    return _ALIGNMENTS.get(kind.code, 4)


def encode(message: Message) -> bytes:
    """Raises InvalidArgs for a name that is none, or a body that does not fit the signature field."""
    fields = encode_fields(message.fields)
    body = encode_body(message.body, message.fields.get(SIGNATURE, ""))
    head = _FIXED.pack(b"l", message.type, message.flags, 1, len(body), message.serial, len(fields))
    return head + fields + b"\0" * (-len(fields) % 8) + body


def encode_fields(values: dict[int, Any]) -> bytes:
    """Marshalled header fields, without the padding behind them.  Raises InvalidArgs."""
    for code, (is_good, what) in _NAMES.items():
        if values.get(code) and not is_good(values[code]):
            raise InvalidArgs(f"{values[code]!r:.60} is not {what}")
    fields = _Writer()
    for code, value in values.items():
        if value not in ("", None):
            fields.align(8)
            fields.out += bytes((code,))
            fields.variant(value if isinstance(value, Variant) else Variant(_FIELD_TYPES[code], value))
    return bytes(fields.out)


def encode_body(body: Sequence[Any], signature: str) -> bytes:
    """Marshalled arguments.  Raises InvalidArgs."""
    check_body(body, signature)
    writer = _Writer()
    for value, kind in zip(body, parse(signature), strict=True):
        writer.value(value, kind)
    return bytes(writer.out)


class _Writer:
    def __init__(self) -> None:
        self.out = bytearray()

    def align(self, to: int) -> None:
        self.out += b"\0" * (-len(self.out) % to)

    def value(self, value: Any, kind: Type) -> None:
        code = kind.code
        self.align(alignment(kind))
        if code in _FORMATS:
            self.out += pack("<" + _FORMATS[code], value)
        elif code in "so":
            raw = _text_bytes(value, code)
            self.out += pack("<I", len(raw)) + raw + b"\0"
        elif code == "g":
            parse(value)
            self.out += bytes((len(value),)) + value.encode("ascii") + b"\0"
        elif code == "v":
            self.variant(value)
        elif code == "a":
            self.array(value, kind.children[0])
        else:
            for item, child in zip(value, kind.children, strict=True):
                self.value(item, child)

    def variant(self, variant: Variant) -> None:
        self.value(variant.signature, Type("g"))
        self.value(variant.value, single(variant.signature))

    def array(self, items: Any, kind: Type) -> None:
        size_at = len(self.out)
        self.out += b"\0\0\0\0"
        self.align(alignment(kind))
        start = len(self.out)
        if kind.code == "y":
            self.out += bytes(items)
        else:
            for item in items.items() if kind.code == "{" else items:
                self.value(item, kind)
        size = len(self.out) - start
        if size > MAX_ARRAY:
            raise InvalidArgs(f"array of {size} bytes; at most {MAX_ARRAY}")
        self.out[size_at : size_at + 4] = pack("<I", size)


def _text_bytes(value: str, code: str) -> bytes:
    if code == "o" and not is_object_path(value):
        raise InvalidArgs(f"{value!r:.60} is not an object path")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidArgs(f"{value!r:.60} is not valid Unicode") from None


def size_of(head: bytes) -> int:
    """Length of the message that begins with these 16 bytes.  Raises CodecError."""
    order = _order(head)
    body, _, fields = unpack_from(order + "III", head, 4)
    size = 16 + (fields + 7 & ~7) + body
    if head[3] != 1 or fields > MAX_ARRAY or size > MAX_MESSAGE:
        raise CodecError("not a message of D-Bus protocol 1, or too large")
    return int(size)


def decode(data: bytes) -> Message:
    """One complete message.  Raises CodecError."""
    try:
        return _decode(data)
    except (error, IndexError, UnicodeDecodeError, InvalidArgs, RecursionError) as problem:
        raise CodecError(str(problem)) from None


def decode_body(data: bytes, order: str, signature: str) -> list[Any]:
    """The arguments in a body; `order` is struct's letter.  Raises CodecError."""
    try:
        return _decode_body(data, order, 0, signature)
    except (error, IndexError, UnicodeDecodeError, InvalidArgs, RecursionError) as problem:
        raise CodecError(str(problem)) from None


def _decode(data: bytes) -> Message:
    order = _order(data)
    reader = _Reader(data, order, 12)
    fields: dict[int, Any] = {}
    for code, variant in reader.value(single("a(yv)"), 0):
        if code in _FIELD_TYPES and variant.signature != _FIELD_TYPES[code]:
            raise CodecError(f"header field {code} has type {variant.signature}")
        fields[code] = variant.value if code in _FIELD_TYPES else variant
    reader.align(8)
    body = _decode_body(data, order, reader.at, fields.get(SIGNATURE, ""))
    (serial,) = unpack_from(order + "I", data, 8)
    return Message(data[1], serial, fields, body, data[2])


def _decode_body(data: bytes, order: str, at: int, signature: str) -> list[Any]:
    reader = _Reader(data[at:], order, 0)  # alignment counts from the body's own start
    body = [reader.value(kind, 0) for kind in parse(signature)]
    if reader.at != len(reader.data):
        raise CodecError("the body is longer than its signature says")
    return body


def _order(data: bytes) -> str:
    try:
        return {0x6C: "<", 0x42: ">"}[data[0]]
    except (KeyError, IndexError):
        raise CodecError("neither little nor big endian") from None


class _Reader:
    def __init__(self, data: bytes, order: str, at: int) -> None:
        self.data = data
        self.at = at
        self._order = order

    def align(self, to: int) -> None:
        end = self.at + (-self.at % to)
        if any(self.data[self.at : end]):
            raise CodecError("padding is not zero")
        self.at = end

    def value(self, kind: Type, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise CodecError("nested too deep")
        code = kind.code
        self.align(alignment(kind))
        if code in _FORMATS:
            return self._number(code)
        if code in "so":
            return self._text(self._number("u"))
        if code == "g":
            return self._text(self._number("y"))
        if code == "v":
            signature = self._text(self._number("y"))
            return Variant(signature, self.value(single(signature), depth + 1))
        if code == "a":
            return self._array(kind.children[0], depth + 1)
        return [self.value(child, depth + 1) for child in kind.children]

    def _number(self, code: str) -> Any:
        (value,) = unpack_from(self._order + _FORMATS[code], self.data, self.at)
        self.at += _ALIGNMENTS.get(code, 4)  # a number is as long as it is aligned
        if code != "b":
            return value
        if value > 1:
            raise CodecError(f"{value} is no boolean")
        return bool(value)

    def _text(self, size: int) -> str:
        raw = self.data[self.at : self.at + size]
        if self.data[self.at + size] != 0 or b"\0" in raw:
            raise CodecError("a string holds NUL, or does not end with it")
        self.at += size + 1
        return raw.decode()

    def _array(self, kind: Type, depth: int) -> Any:
        size = self._number("u")
        self.align(alignment(kind))
        end = self.at + size
        if size > MAX_ARRAY or end > len(self.data):
            raise CodecError("an array runs past the message")
        if kind.code == "y":
            self.at = end
            return bytes(self.data[end - size : end])
        items = []
        while self.at < end:
            items.append(self.value(kind, depth))
        if self.at != end:
            raise CodecError("an array ends inside an item")
        return dict(items) if kind.code == "{" else items
