# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain UNIX and TCP sockets of this host as transports: whoever connects is domain 0."""

import asyncio
import socket
from pathlib import Path

from openxt_bus.transport.base import Listener, OnStream, Peer
from openxt_bus.transport.sockets import SocketListener
from openxt_core.ids import DOM0


async def _dom0(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> Peer:
    return Peer(DOM0)


async def listen_unix(path: Path, on_stream: OnStream, passed: socket.socket | None = None) -> Listener:
    """A socket left by an earlier run is replaced.  `passed`: one that listens already."""
    listener = SocketListener(on_stream, _dom0)
    if passed is None:
        path.unlink(missing_ok=True)
        listener.server = await asyncio.start_unix_server(listener.accept, path)
    else:
        listener.server = await asyncio.start_unix_server(listener.accept, sock=passed)
    return listener


async def listen_tcp(
    address: str, port: int, on_stream: OnStream, passed: socket.socket | None = None
) -> Listener:
    """`passed`: a socket that listens already, wherever that is."""
    listener = SocketListener(on_stream, _dom0)
    if passed is None:
        listener.server = await asyncio.start_server(listener.accept, address, port)
    else:
        listener.server = await asyncio.start_server(listener.accept, sock=passed)
    return listener
