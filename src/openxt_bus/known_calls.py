# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that came before: the bytes of their header fields lead to handler and answer without being read.

The header fields hold sender, path, interface, member and signature, and nothing that differs from one call
to the next: whoever calls the same thing again sends the same bytes.  Kept are calls with texts as arguments
only; whether the object exists and what the caller may do is asked each time, so a remembered call
can do no more than an unknown one.  The table is emptied when routes change, and when it is full.

Only for messages that a bus passed on: it has checked their bodies.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

from openxt_bus import message as codec
from openxt_bus.export import Handler, ObjectTree, Request
from openxt_bus.routes import Place
from openxt_core.spec import Call

MAX_KNOWN: Final = 4096
MAX_KEY_BYTES: Final = 1024
MAX_ARGUMENTS: Final = 2

_PLAIN_CALL: Final = int.from_bytes(b"l\1\0\1", "little")
"""How a message begins: little-endian, a method call, no flags (an answer is wanted), protocol 1."""
_FIELDS_AT: Final = 16  # where the header fields begin, and their length just before
_MAX_SHORT: Final = 64 * 1024
_head = Struct("<4I").unpack_from
"""How the message begins, bytes of its body, its serial, bytes of its header fields."""
_size = Struct("<I").unpack_from
_pack = Struct("<I").pack


def _no_text(_data: bytes, _at: int) -> Sequence[str]:
    return ()


def _one_text(data: bytes, at: int) -> Sequence[str]:
    return (data[at + 4 : -1].decode(),)  # up to the NUL, with which the message ends


def _two_texts(data: bytes, at: int) -> Sequence[str]:
    end = at + 4 + _size(data, at)[0]
    return data[at + 4 : end].decode(), data[(end + 4 & ~3) + 4 : -1].decode()


_READERS: Final = (_no_text, _one_text, _two_texts)
"""What gives the arguments of a call with so many texts, whose body begins at `at`."""


class Known:
    """One call, ready to be carried out again."""

    __slots__ = (
        "_body_at",
        "_call",
        "_run",
        "_texts",
        "fields",
        "fields_size",
        "handler",
        "place",
        "returns",
    )

    def __init__(self, place: Place[Any], handler: Handler, message: Request, key_size: int) -> None:
        self._body_at = _FIELDS_AT + key_size + 7 & ~7
        self.place = place
        self.handler = handler
        path, interface, member = message.path or "", message.interface or "", message.member or ""
        self._call = Call(message.sender or "", path, interface, member, place.key)
        self._run = handler.bind(self._call) if handler.bind is not None else None
        self._texts = _READERS[len(message.signature)]
        self.returns = handler.out_signature
        self.fields_size, self.fields = codec.return_fields(message.sender, handler.out_signature)

    @property
    def call(self) -> Call:
        """Any of them: they differ in nothing but their arguments."""
        return self._call

    def run(self, data: bytes) -> Any:
        """Carry out the call in `data`.  Raises what the caller shall be told."""
        texts, run = self._texts(data, self._body_at), self._run
        return run(*texts) if run is not None else self.handler.run(self._call, texts)

    def reply(self, serial: int, data: bytes, result: Any) -> bytes:
        """The answer to the call in `data`.  Raises RuntimeError when the result does not fit its type."""
        (request_serial,) = _size(data, 8)
        returns = self.returns
        if not returns:
            content = b""
        elif returns == "s" and type(result) is str and len(result) < _MAX_SHORT and "\0" not in result:
            text = result.encode()
            content = _pack(len(text)) + text + b"\0"
        else:
            content = codec.content(*self.handler.answer(result))
        head = codec.return_header(len(content), serial, self.fields_size, request_serial)
        return head + self.fields + content

    def error(self, serial: int, data: bytes, error: Exception) -> bytes:
        """The answer to the call in `data`, which failed."""
        return codec.error_bytes(serial, self._call.sender, _size(data, 8)[0], *codec.error_words(error))


class KnownCalls:
    """By the bytes of their header fields."""

    def __init__(self, tree: ObjectTree) -> None:
        self._tree = tree
        self._known: dict[bytes, Known] = {}
        self._version = tree.version

    def find(self, data: bytes) -> Known | None:
        """The call in `data`, if it came before, wants an answer, and its object is still there."""
        kind, _, _, size = _head(data)
        if kind != _PLAIN_CALL:
            return None
        if self._version != self._tree.version:
            self._version = self._tree.version
            self._known.clear()
            return None
        known = self._known.get(data[_FIELDS_AT : _FIELDS_AT + size])
        if known is not None and known.place.checks and not known.place.is_there():
            return None
        return known

    def remember(self, data: bytes, message: Request) -> None:
        """To be told of each call that was carried out."""
        kind, _, _, size = _head(data)
        if kind != _PLAIN_CALL or size > MAX_KEY_BYTES:
            return
        if len(message.signature) > MAX_ARGUMENTS or message.signature.strip("s"):
            return
        found = self._tree.find(message)
        if found is None:
            return
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[data[_FIELDS_AT : _FIELDS_AT + size]] = Known(*found, message, size)
