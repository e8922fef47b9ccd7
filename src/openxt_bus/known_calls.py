# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that came before: the bytes of their header fields lead to handler and answer without being read.

The header fields hold sender, path, interface, member and signature, and nothing that differs from one call
to the next: whoever calls the same thing again sends the same bytes.  Kept are calls with texts as arguments
only; whether the object exists and what the caller may do is asked each time, so a remembered call
can do no more than an unknown one.  The table is emptied when routes change, and when it is full.

Only for messages that a bus passed on: it has checked their bodies.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from openxt_bus import message as codec
from openxt_bus.export import Answer, Handler, ObjectTree, Request, answer_later
from openxt_bus.heads import HEAD_SIZE, PLAIN_CALL, read_head
from openxt_bus.plans import MAX_TEXTS
from openxt_bus.quick import Plan
from openxt_core.spec import Call

MAX_KNOWN: Final = 4096
MAX_KEY_BYTES: Final = 1024


class Known:
    """What one call's handler makes of its like, but for the usual answers."""

    def __init__(self, calls: "KnownCalls", call: Call, handler: Handler) -> None:
        self._calls = calls
        self._call = call
        self._handler = handler

    def run(self, *texts: str) -> Any:
        return self._handler.run(self._call, texts)

    def otherwise(self, data: bytes, serial: int, result: Any, error: Exception | None) -> bytes:
        """An error, an answer of another kind, or b"" for one that comes later."""
        asked = read_head(data)[2]
        try:
            if error is not None:
                raise error
            if hasattr(result, "__await__"):
                self._calls.start(data, answer_later(self._handler, result))
                return b""
            signature, body = self._handler.answer(result)
            content = codec.content(signature, body)
            fields_size, fields = codec.return_fields(self._call.sender, signature)
            return codec.return_header(len(content), serial, fields_size, asked) + fields + content
        except Exception as failure:  # noqa: BLE001  (every failure is an answer)
            self._calls.failed(self._call, failure)
            return codec.error_bytes(serial, self._call.sender, asked, *codec.error_words(failure))


class KnownCalls:
    """Plans by the bytes of header fields.

    `start` is given a call whose answer comes later, `failed` what has failed and why.
    """

    def __init__(
        self,
        tree: ObjectTree,
        start: Callable[[bytes, Awaitable[Answer]], None],
        failed: Callable[[Call, Exception], None],
    ) -> None:
        self._tree = tree
        self.start, self.failed = start, failed
        self.plans: dict[bytes, Plan] = {}
        tree.forgetful.append(self.plans.clear)

    def remember(self, data: bytes, message: Request) -> None:
        """To be told of each call that was carried out."""
        kind, _, _, size = read_head(data)
        if kind != PLAIN_CALL or size > MAX_KEY_BYTES:
            return
        texts = len(message.signature)
        if texts > MAX_TEXTS or message.signature.strip("s"):
            return
        found = self._tree.find(message)
        if found is None:
            return
        if len(self.plans) >= MAX_KNOWN:
            self.plans.clear()
        place, handler = found
        path, interface, member = message.path or "", message.interface or "", message.member or ""
        call = Call(message.sender or "", path, interface, member, place.key)
        known = Known(self, call, handler)
        run = known.run if handler.bind is None else handler.bind(call)
        is_there = place.is_there if place.checks else None
        fields_size, fields = codec.return_fields(message.sender, handler.out_signature)
        self.plans[data[HEAD_SIZE : HEAD_SIZE + size]] = Plan(
            run, texts, handler.out_signature, fields_size, fields, is_there, known.otherwise
        )
