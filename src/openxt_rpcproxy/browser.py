# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts together how a browser's page speaks: JSON texts, in a WebSocket or each ended by NUL."""

from collections.abc import Callable

from openxt_bus.connection import Bus
from openxt_bus.transport.base import Stream
from openxt_rpcproxy.json_dialect import JsonDialect
from openxt_rpcproxy.passage import Passage
from openxt_rpcproxy.settings import Settings
from openxt_rpcproxy.signatures import InterfaceTables, Introspection
from openxt_rpcproxy.texts import NulTexts, WebSocketTexts
from openxt_rpcproxy.websocket import Admission


def json_dialects(bus: Bus, settings: Settings) -> Callable[[Stream, Passage], JsonDialect]:
    """Makes the dialect of each conversation; the interface tables are shared."""
    tables = InterfaceTables()
    admission = Admission(settings.origins, settings.hosts)

    def make(stream: Stream, passage: Passage) -> JsonDialect:
        texts = WebSocketTexts(stream, admission) if settings.websockets_in else NulTexts(stream)
        return JsonDialect(texts, tables, Introspection(bus), passage.refusal)

    return make
