# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain UNIX and TCP sockets of this host as transports: whoever connects is domain 0."""

import asyncio
from pathlib import Path

from openxt_bus.transport.base import Listener, OnStream, Peer
from openxt_bus.transport.sockets import SocketListener
from openxt_core.ids import DOM0


async def _dom0(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> Peer:
    return Peer(DOM0)


async def listen_unix(path: Path, on_stream: OnStream) -> Listener:
    """A socket left by an earlier run is replaced."""
    path.unlink(missing_ok=True)
    listener = SocketListener(on_stream, _dom0)
    listener.server = await asyncio.start_unix_server(listener.accept, path)
    return listener


async def listen_tcp(port: int, on_stream: OnStream) -> Listener:
    """On the loopback address only: the original listened to the whole network."""
    listener = SocketListener(on_stream, _dom0)
    listener.server = await asyncio.start_server(listener.accept, "127.0.0.1", port)
    return listener
