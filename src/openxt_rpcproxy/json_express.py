# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON requests and D-Bus answers whose like was turned before: only what differs is looked at.

Pure and bounded.  A request is known by whom it calls and what; its header fields are kept.  A page writes
its requests alike, so that most are known by their very bytes but for `id` and `args`: see `_Shape`.  An
answer is known by its header but for the serial that it answers; its types are kept.  Whatever is not as
plain as that is left to the slow way, which gives the same texts and messages, or the error.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from struct import Struct, error

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
from openxt_rpcproxy.express import LITTLE
from openxt_rpcproxy.json_form import Incoming
from openxt_rpcproxy.json_values import body_from_json, to_json

MAX_KEPT = 512
MAX_HEAD = 1024  # bytes; a longer header is not kept
_LITTLE = 0x6C
_ANSWER = _LITTLE | RETURN << 8
_ONE, _TWO = Struct("<I"), Struct("<II")
_CALL = bytes((_LITTLE, CALL, 0, 1))
_QUOTE, _ZERO = b'"0'
_WORDS = frozenset({"id", "type", "destination", "path", "interface", "method", "args"})

_NO_STRING = len('""]}')
_FIRST, _LAST, _END = b'{"id":', b'"args":[', b"]}"
_PLAIN = bytes(sorted({*range(0x20, 0x7F)} - {*b'"\\'}))  # stand for themselves in a JSON string

About = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class _Known:
    """Requests that call the same: size of their header fields, these, and zeros up to the body."""

    head: bytes
    signature: str


class Requests:
    """JSON → D-Bus."""

    def __init__(self) -> None:
        self._known: dict[About, _Known] = {}
        self._shapes: dict[bytes, _Known] = {}
        """By all that is between a request's id and its arguments; those only whose arguments are strings."""

    def keep(self, incoming: Incoming, signature: str) -> None:
        """A request without types of its own was turned into a message with this signature."""
        fields = incoming.fields
        about = (fields[DESTINATION], fields[PATH], fields[INTERFACE], fields[MEMBER])
        head = encode_fields({**fields, SIGNATURE: signature})
        if len(head) > MAX_HEAD:
            return
        if len(self._known) >= MAX_KEPT:
            self._known.clear()
        self._known[about] = _Known(_ONE.pack(len(head)) + head + b"\0" * (-len(head) % 8), signature)

    def messages(self, texts: Iterable[bytes]) -> list[bytes]:
        """What the first texts become; it ends before one that must go the slow way."""
        found: list[bytes] = []
        for text in texts:
            message = self._alike(text) or self._parsed(text)
            if not message:
                break
            found.append(message)
        return found

    def _alike(self, text: bytes) -> bytes:
        """The hot path: a text whose shape is known, with plain strings; empty for any other."""
        at, args_at = text.find(b",", 6), text.find(_LAST) + len(_LAST)
        known = self._shapes.get(text[at:args_at])
        number = text[6:at]
        if known is None or text[:6] != _FIRST or not number.isdigit() or len(number) > 9:
            return b""
        if number[0] == _ZERO:
            return b""
        if known.signature == "s":
            string = text[args_at + 1 : -3]
            if len(text) < args_at + _NO_STRING or text[args_at] != _QUOTE or text[-3:] != b'"]}':
                return b""
            if string.translate(None, _PLAIN):
                return b""
            size = len(string)
            return b"".join(
                (_CALL, _TWO.pack(size + 5, int(number)), known.head, _ONE.pack(size), string, b"\0")
            )
        body = _plain_strings(text[args_at:], len(known.signature))
        return body and _CALL + _TWO.pack(len(body), int(number)) + known.head + body

    def _parsed(self, text: bytes) -> bytes:
        try:
            found = orjson.loads(text)
            if found.__class__ is not dict or not _WORDS.issuperset(found):
                return b""
            known = self._known[found["destination"], found["path"], found["interface"], found["method"]]
            serial, args = found["id"], found["args"]
            if found.get("type", "request") != "request" or serial.__class__ is not int or not serial:
                return b""
            body = _body(args, known.signature)
            message = _CALL + _TWO.pack(len(body), serial) + known.head + body
        except (orjson.JSONDecodeError, KeyError, TypeError, InvalidArgs, error):
            return b""
        if known.signature and not known.signature.strip("s"):
            self._keep_shape(text, found, known)
        return message

    def _keep_shape(self, text: bytes, found: dict[str, object], known: _Known) -> None:
        """What stands between id and arguments means the same before any others.

        For it ends where the array of the arguments begins: it was read as such with none in it.
        """
        at, args_at = text.find(b",", 6), text.find(_LAST) + len(_LAST)
        shape = text[at:args_at]
        if not text.startswith(_FIRST) or at < 0 or len(shape) > MAX_HEAD or b"\\" in shape:
            return
        try:
            alone = orjson.loads(b'{"id":1' + shape + _END)
        except orjson.JSONDecodeError:
            return
        if alone == {**found, "id": 1, "args": []}:
            if len(self._shapes) >= MAX_KEPT:
                self._shapes.clear()
            self._shapes[shape] = known


def _plain_strings(rest: bytes, count: int) -> bytes:
    """JSON strings and the end of the text, as D-Bus strings; empty if they are not so many plain ones."""
    strings = rest[1:-3].split(b'","')
    if len(strings) != count or rest[:1] != b'"' or rest[-3:] != b'"]}':
        return b""
    body = bytearray()
    for string in strings:
        if string.translate(None, _PLAIN):
            return b""
        body += b"\0" * (-len(body) % 4) + _ONE.pack(len(string)) + string + b"\0"
    return bytes(body)


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
        out += b"\0" * (-len(out) % 4) + _ONE.pack(len(raw)) + raw + b"\0"
    return bytes(out)


class Answers:
    """D-Bus → JSON."""

    def __init__(self) -> None:
        self._known: dict[int, dict[bytes, tuple[int, str]]] = {}
        """By the place of the answered serial: header from the 12th byte on, without it → what is before
        the body's size as LITTLE has it, signature."""
        self._count = 0

    def keep(self, message: bytes, signature: str) -> None:
        """An answer with this signature was turned into a text."""
        first, _, _, fields = LITTLE(message)
        if first & 0xFFFF != _ANSWER or fields > MAX_HEAD:
            return
        at = field_places(message)[REPLY_SERIAL] - 12
        if at not in self._known and len(self._known) >= 4:
            return
        if self._count >= MAX_KEPT:
            self._known.clear()
            self._count = 0
        self._count += 1
        tail = message[12 : FIXED_HEADER + fields]
        self._known.setdefault(at, {})[tail[:at] + tail[at + 4 :]] = first, signature

    def texts(self, messages: bytes, otherwise: Callable[[bytes], bytes]) -> Iterator[bytes]:
        """Of whole messages; what must go the slow way is asked of `otherwise`."""
        at, end = 0, len(messages)
        while at < end:
            first, size, serial, fields = LITTLE(messages, at)
            if first & 0xFFFF == _ANSWER:
                body_at = at + (FIXED_HEADER + fields + 7 & ~7)
                stop = body_at + size
                tail = messages[at + 12 : at + FIXED_HEADER + fields]
                text = self._text(first, serial, tail, messages[body_at:stop])
            else:
                stop, text = at + message_size(messages, at, end), b""
            yield text or otherwise(messages[at:stop])
            at = stop

    def _text(self, first: int, serial: int, tail: bytes, body: bytes) -> bytes:
        """Empty for what must go the slow way."""
        for place, known in self._known.items():
            kept = known.get(tail[:place] + tail[place + 4 :])
            if kept is not None and kept[0] == first:
                break
        else:
            return b""
        answers = _ONE.unpack_from(tail, place)[0]
        if kept[1] == "s":
            string = body[4:-1]
            if body[:4] == _ONE.pack(len(string)) and body[-1] == 0 and not string.translate(None, _PLAIN):
                return b'{"id":%d,"type":"response","response-to":"%d","args":["%b"]}' % (
                    serial,
                    answers,
                    string,
                )
        args = _args(body, kept[1])
        return args and b'{"id":%d,"type":"response","response-to":"%d","args":%b}' % (serial, answers, args)


def _args(body: bytes, signature: str) -> bytes:
    """As a JSON array; empty for what cannot be read."""
    try:
        return orjson.dumps([to_json(value) for value in decode_body(body, "<", signature)])
    except (error, CodecError, UnicodeDecodeError, orjson.JSONEncodeError):
        return b""
