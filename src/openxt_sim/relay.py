# SPDX-License-Identifier: GPL-2.0-or-later
"""The guests' side of v4v: a socket per running domain and port leads to dom0's listener of that port.

Whoever connects to ROOT/var/run/guests/N/PORT is domain N connecting to dom0.  The listener is told so by
the first 12 bytes: three little-endian u32: magic, domid, source port.  Nothing is said about firewalls.
"""

import asyncio
import itertools
import struct
from contextlib import suppress
from pathlib import Path

from openxt_core.ids import DOM0, Domid
from openxt_core.places import Places

PORTS = (5555, 5556, 8080)
MAGIC = 0x76347631
FIRST_SOURCE_PORT = 0x80000000
_HEADER = struct.Struct("<III")
_CHUNK_BYTES = 65536
_CONNECT_TIMEOUT_S = 5.0


def header(domid: Domid, port: int) -> bytes:
    """What names the peer to a listener."""
    return _HEADER.pack(MAGIC, domid, port)


class GuestPorts:
    """The sockets of all domains."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._source_ports = itertools.count(FIRST_SOURCE_PORT)
        self._servers: dict[Domid, list[asyncio.Server]] = {}
        self._relays: dict[Domid, set[asyncio.Task[None]]] = {}

    async def open(self, domid: Domid) -> None:
        folder = self._folder(domid)
        folder.mkdir(parents=True, exist_ok=True)
        self._servers[domid], self._relays[domid] = [], set()
        for port in PORTS:
            path = folder / str(port)
            path.unlink(missing_ok=True)
            self._servers[domid].append(await self._listen(domid, port, path))

    async def close(self, domid: Domid) -> None:
        """The domain is gone: so are its sockets and its conversations."""
        for server in self._servers.pop(domid, []):
            server.close()
        for relay in self._relays.pop(domid, set()):
            relay.cancel()
        for port in PORTS:
            (self._folder(domid) / str(port)).unlink(missing_ok=True)
        with suppress(OSError):
            self._folder(domid).rmdir()

    def _folder(self, domid: Domid) -> Path:
        return self._places.run / "guests" / str(domid)

    async def _listen(self, domid: Domid, port: int, path: Path) -> asyncio.Server:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            if domid not in self._relays:  # it ended while we accepted
                writer.close()
                return
            self._relays[domid].add(task)
            try:
                await self._relay(domid, port, reader, writer)
            finally:
                writer.close()
                self._relays.get(domid, set()).discard(task)

        return await asyncio.start_unix_server(accept, path)

    async def _relay(
        self, domid: Domid, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Refused, like a port that nobody listens on, when dom0 has no listener."""
        listener = self._places.v4v / str(DOM0) / str(port)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                far_reader, far_writer = await asyncio.open_unix_connection(listener)
        except (OSError, TimeoutError):
            return
        try:
            far_writer.write(header(domid, next(self._source_ports)))
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer))
                group.create_task(_pump(far_reader, writer))
        finally:
            far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes one way, then the end of them."""
    with suppress(ConnectionError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
