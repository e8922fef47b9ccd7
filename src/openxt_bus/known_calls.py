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
from openxt_bus.heads import HEAD_SIZE, REPLY_SERIAL, RETURN, read_head
from openxt_bus.routes import Place
from openxt_core.spec import Call

MAX_KNOWN: Final = 4096
MAX_KEY_BYTES: Final = 1024
MAX_ARGUMENTS: Final = 2

PLAIN_CALL: Final = int.from_bytes(b"l\1\0\1", "little")
"""How a message begins: little-endian, a method call, no flags (an answer is wanted), protocol 1."""
_MAX_SHORT: Final = 64 * 1024
_size = Struct("<I").unpack_from


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
        "_fields",
        "_fields_size",
        "_pack",
        "_returns",
        "body_at",
        "call",
        "handler",
        "place",
        "read_texts",
        "run",
    )

    def __init__(self, place: Place[Any], handler: Handler, message: Request, key_size: int) -> None:
        self.body_at = HEAD_SIZE + key_size + 7 & ~7
        self.place = place
        self.handler = handler
        path, interface, member = message.path or "", message.interface or "", message.member or ""
        self.call = Call(message.sender or "", path, interface, member, place.key)
        """Any of them: they differ in nothing but their arguments."""
        self.run = handler.bind(self.call) if handler.bind is not None else self._run_by_handler
        self.read_texts = _READERS[len(message.signature)]
        self._returns = handler.out_signature
        self._fields_size, self._fields = codec.return_fields(message.sender, handler.out_signature)
        self._pack = Struct(f"<6I{len(self._fields)}s{'I' if self._returns == 's' else ''}").pack

    def _run_by_handler(self, *texts: str) -> Any:
        return self.handler.run(self.call, texts)

    def reply(self, serial: int, asked: int, result: Any) -> bytes:
        """The answer to the call of serial `asked`.  Raises RuntimeError for a result of another type."""
        returns, fields, fields_size = self._returns, self._fields, self._fields_size
        if not returns:
            return self._pack(RETURN, 0, serial, fields_size, REPLY_SERIAL, asked, fields)
        if returns == "s" and type(result) is str and "\0" not in result:
            text = result.encode()
            size = len(text)
            if size < _MAX_SHORT:
                head = self._pack(RETURN, size + 5, serial, fields_size, REPLY_SERIAL, asked, fields, size)
                return head + text + b"\0"
        content = codec.content(*self.handler.answer(result))
        return codec.return_header(len(content), serial, fields_size, asked) + fields + content

    def error(self, serial: int, asked: int, error: Exception) -> bytes:
        """The answer to the call of serial `asked`, which failed."""
        return codec.error_bytes(serial, self.call.sender, asked, *codec.error_words(error))


class KnownCalls:
    """By the bytes of their header fields."""

    def __init__(self, tree: ObjectTree) -> None:
        self._tree = tree
        self.by_fields: dict[bytes, Known] = {}
        tree.forgetful.append(self.by_fields.clear)

    def remember(self, data: bytes, message: Request) -> None:
        """To be told of each call that was carried out."""
        kind, _, _, size = read_head(data)
        if kind != PLAIN_CALL or size > MAX_KEY_BYTES:
            return
        if len(message.signature) > MAX_ARGUMENTS or message.signature.strip("s"):
            return
        found = self._tree.find(message)
        if found is None:
            return
        if len(self.by_fields) >= MAX_KNOWN:
            self.by_fields.clear()
        self.by_fields[data[HEAD_SIZE : HEAD_SIZE + size]] = Known(*found, message, size)
