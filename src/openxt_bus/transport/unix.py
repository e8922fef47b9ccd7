# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams between domains over UNIX sockets: a folder with one socket per domain and port.

`FOLDER/<domid>/<port>` is where a domain listens.  A connection begins with twelve bytes that name the
peer; only the host itself (the simulated Xen host, a test) may reach the folder, which is 0700, so
these bytes can be trusted.  Real hosts use transports where the hypervisor names the peer.
"""

import asyncio
import contextlib
from pathlib import Path

from openxt_bus.transport.base import Listener, OnStream, Peer, Stream
from openxt_bus.transport.hello import HELLO, MAGIC
from openxt_bus.transport.sockets import SocketListener
from openxt_core.ids import Domid

HELLO_TIMEOUT_S = 5.0
STREAM_LIMIT = 256 * 1024


class UnixTransport:
    def __init__(self, folder: Path, domid: Domid) -> None:
        """`domid`: the domain we are."""
        self._folder = folder
        self._domid = domid

    async def listen(self, port: int, on_stream: OnStream) -> Listener:
        own = self._folder / str(self._domid)
        own.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        path = own / str(port)
        await _remove_stale(path)
        listener = SocketListener(on_stream, _named_peer)
        listener.server = await asyncio.start_unix_server(listener.accept, path, limit=STREAM_LIMIT)
        return listener

    async def connect(self, domid: Domid, port: int) -> Stream:
        path = self._folder / str(domid) / str(port)
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=STREAM_LIMIT)
        except FileNotFoundError:
            raise ConnectionRefusedError(f"nobody listens on port {port} of domain {domid}") from None
        writer.write(HELLO.pack(MAGIC, self._domid, 0))
        return Stream(reader, writer, Peer(domid, port))


async def _named_peer(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> Peer:
    async with asyncio.timeout(HELLO_TIMEOUT_S):
        magic, domid, port = HELLO.unpack(await reader.readexactly(HELLO.size))
    if magic != MAGIC:
        raise ConnectionAbortedError("the connecting side did not name itself")
    return Peer(Domid(domid), port)


async def _remove_stale(path: Path) -> None:
    """Remove the socket of a process that is gone.  Raises OSError when somebody still listens."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        _, writer = await asyncio.open_unix_connection(path)
        writer.close()
        raise FileExistsError(f"{path}: another process listens there")
    path.unlink(missing_ok=True)
