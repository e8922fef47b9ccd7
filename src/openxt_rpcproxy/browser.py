# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts together how clients and buses speak that do not speak plain D-Bus.

JSON texts, in a WebSocket or each ended by NUL; or D-Bus messages in a WebSocket.
"""

from openxt_bus.connection import Bus
from openxt_rpcproxy.dialect import Dialect, RawDialect
from openxt_rpcproxy.json_dialect import Finder, JsonDialect
from openxt_rpcproxy.passage import Passage
from openxt_rpcproxy.settings import Settings
from openxt_rpcproxy.signatures import InterfaceTables, Introspection
from openxt_rpcproxy.texts import NulTexts, WebSocketTexts
from openxt_rpcproxy.websocket import Admission


class WebSocketDialect:
    """D-Bus messages in binary messages of a WebSocket, cut anywhere."""

    is_waiting = False

    def __init__(self, texts: WebSocketTexts) -> None:
        self._texts = texts
        self.begin = texts.begin
        self.take = texts.take

    @property
    def is_over(self) -> bool:
        return self._texts.is_over

    @property
    def held_bytes(self) -> int:
        return self._texts.held_bytes

    def feed(self, data: bytes) -> bytes:
        return b"".join(self._texts.feed(data))

    def send(self, messages: bytes) -> bytes:
        self._texts.put((messages,))
        return self._texts.take()

    async def settle(self) -> None:
        """It never waits."""

    def end(self) -> bytes:
        self._texts.end()
        return self._texts.take()


class Dialects:
    """Makes the dialects of each conversation; the interface tables are shared."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self._bus = bus
        self._settings = settings
        self._tables = InterfaceTables()
        self._admission = Admission(settings.origins, settings.hosts)

    def of(self, passage: Passage) -> tuple[Dialect, Dialect]:
        """How the client speaks, and how the bus."""
        return self._of_client(passage), self._of_bus(passage)

    def _of_client(self, passage: Passage) -> Dialect:
        settings = self._settings
        if not settings.json_in:
            return self._of_websocket_client()
        texts = WebSocketTexts(self._admission) if settings.websockets_in else NulTexts()
        return JsonDialect(texts, self._tables, Finder(Introspection(self._bus), passage.refusal))

    def _of_websocket_client(self) -> Dialect:
        if self._settings.websockets_in:
            return WebSocketDialect(WebSocketTexts(self._admission, is_text=False))
        return RawDialect()

    def _of_bus(self, passage: Passage) -> Dialect:
        if self._settings.json_out:
            return JsonDialect(NulTexts(), self._tables, None, lambda: passage.name)
        return RawDialect()
