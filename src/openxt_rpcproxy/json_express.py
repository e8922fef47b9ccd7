# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON requests and D-Bus answers whose like was turned before: only what differs is looked at.

Pure and bounded.  A request is known by whom it calls and what; its header fields are kept.  An answer is
known by its header but for the serial that it answers; its types are kept.  Whatever is not as plain as that
is left to the slow way, which gives the same texts and messages, or the error.
"""

from collections.abc import Callable, Iterator
from struct import Struct, error, unpack_from

import orjson

from openxt_bus.codec import (
    CALL,
    DESTINATION,
    INTERFACE,
    MEMBER,
    PATH,
    REPLY_SERIAL,
    RETURN,
    SIGNATURE,
    CodecError,
    decode_body,
    encode_body,
    encode_fields,
)
from openxt_bus.framing import FIXED_HEADER, field_places, message_size
from openxt_core.errors import InvalidArgs
from openxt_rpcproxy.json_form import Incoming
from openxt_rpcproxy.json_values import body_from_json, to_json

MAX_KEPT = 512
MAX_HEAD = 1024  # bytes; a longer header is not kept
_LITTLE = 0x6C
_HEAD = Struct("<cBBBIII")
_NUMBER = Struct("<I")
_WORDS = frozenset({"id", "type", "destination", "path", "interface", "method", "args"})

About = tuple[str, str, str, str]


class Requests:
    """JSON → D-Bus."""

    def __init__(self) -> None:
        self._known: dict[About, tuple[bytes, int, str]] = {}

    def keep(self, incoming: Incoming, signature: str) -> None:
        """A request without types of its own was turned into a message with this signature."""
        fields = incoming.fields
        about = (fields[DESTINATION], fields[PATH], fields[INTERFACE], fields[MEMBER])
        head = encode_fields({**fields, SIGNATURE: signature})
        if len(head) > MAX_HEAD:
            return
        if len(self._known) >= MAX_KEPT:
            self._known.clear()
        self._known[about] = (head + b"\0" * (-len(head) % 8), len(head), signature)

    def message(self, text: bytes) -> bytes:
        """Empty for what must go the slow way."""
        try:
            found = orjson.loads(text)
            if found.__class__ is not dict or not _WORDS.issuperset(found):
                return b""
            about = (found["destination"], found["path"], found["interface"], found["method"])
            head, size, signature = self._known[about]
            serial, args = found["id"], found["args"]
            if found.get("type", "request") != "request" or serial.__class__ is not int or not serial:
                return b""
            body = _body(args, signature)
            return _HEAD.pack(b"l", CALL, 0, 1, len(body), serial, size) + head + body
        except (orjson.JSONDecodeError, KeyError, TypeError, InvalidArgs, error):
            return b""


def _body(args: list[object], signature: str) -> bytes:
    """Raises InvalidArgs, TypeError."""
    if args.__class__ is not list:
        raise TypeError
    if signature.strip("s"):
        return encode_body(body_from_json(args, signature), signature)
    if len(args) < len(signature):
        raise TypeError
    out = bytearray()
    for value in args[: len(signature)]:
        if value.__class__ is not str or "\0" in value:
            raise TypeError
        raw = value.encode()
        out += b"\0" * (-len(out) % 4) + _NUMBER.pack(len(raw)) + raw + b"\0"
    return bytes(out)


class Answers:
    """D-Bus → JSON."""

    def __init__(self) -> None:
        self._known: dict[int, dict[bytes, str]] = {}
        """By the place of the answered serial: the rest of the header → signature."""
        self._count = 0

    def keep(self, message: bytes, signature: str) -> None:
        """An answer with this signature was turned into a text."""
        if message[0] != _LITTLE or message[1] != RETURN:
            return
        at = field_places(message)[REPLY_SERIAL]
        end = FIXED_HEADER + _NUMBER.unpack_from(message, 12)[0]
        if end > MAX_HEAD or (at not in self._known and len(self._known) >= 4):
            return
        if self._count >= MAX_KEPT:
            self._known.clear()
            self._count = 0
        self._count += 1
        self._known.setdefault(at, {})[message[:4] + message[12:at] + message[at + 4 : end]] = signature

    def texts(self, messages: bytes, otherwise: Callable[[bytes], bytes]) -> Iterator[bytes]:
        """Of whole messages; what must go the slow way is asked of `otherwise`."""
        at = 0
        while at < len(messages):
            size = message_size(messages, at, len(messages))
            message = messages[at : at + size]
            text = self._text(message) if message[:2] == b"l\2" else b""
            yield text or otherwise(message)
            at += size

    def _text(self, message: bytes) -> bytes:
        """Empty for what must go the slow way."""
        _, _, _, _, size, serial, fields = _HEAD.unpack_from(message)
        head = message[: FIXED_HEADER + fields]
        for place, known in self._known.items():
            signature = known.get(head[:4] + head[12:place] + head[place + 4 :])
            if signature is not None:
                args = _args(message, len(message) - size, signature)
                answers = _NUMBER.unpack_from(message, place)[0]
                words = (serial, answers, args)
                return args and b'{"id":%d,"type":"response","response-to":"%d","args":%b}' % words
        return b""


def _args(message: bytes, at: int, signature: str) -> bytes:
    """Empty for what cannot be read."""
    try:
        if signature == "s":
            size = unpack_from("<I", message, at)[0]
            raw = message[at + 4 : -1]
            is_whole = len(raw) == size and message[-1] == 0 and b"\0" not in raw
            return orjson.dumps((raw.decode(),)) if is_whole else b""
        return orjson.dumps([to_json(value) for value in decode_body(message[at:], "<", signature)])
    except (error, CodecError, UnicodeDecodeError, orjson.JSONEncodeError):
        return b""
