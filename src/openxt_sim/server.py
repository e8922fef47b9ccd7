# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated host's sockets, clock and files; everything else is `host`.

DIR/xenstored             XenStore's wire protocol, with dom0's rights
DIR/xenstored-domains/N   the same as domain N, while it is introduced
DIR/hypercalls            a little-endian u32 length, then JSON (`hypercalls`)
"""

import asyncio
import logging
import struct
from collections.abc import Callable
from pathlib import Path

import orjson

from openxt_core.ids import Domid
from openxt_core.places import Places
from openxt_sim.host import Host, World
from openxt_sim.hypercalls import answer
from openxt_sim.machine import Machine
from openxt_sim.peers import Peer
from openxt_sim.relay import GuestPorts
from openxt_xen.xenstore.wire import Splitter, WireError

log = logging.getLogger(__name__)

CONSOLE_LOGS = "/var/log/xen/console"
REQUEST_MAX = 1 << 20
_LENGTH = struct.Struct("<I")
_HEAD_BYTES = 16


def _head(path: str) -> bytes | None:
    """The first bytes of a file; None when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return None


class XenStoreConnection(asyncio.Protocol):
    """One client of xenstored.  Only a broken packet format ends it."""

    def __init__(self, server: "Server", domid: Domid | None) -> None:
        self._server = server
        self._splitter = Splitter()
        self._transport: asyncio.WriteTransport | None = None
        self.peer = server.host.store.connect(domid)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._server.connections[self.peer] = self

    def data_received(self, data: bytes) -> None:
        try:
            for packet in self._splitter.feed(data):
                if self.peer.is_open:
                    self._server.host.xenstore(self.peer, packet)
        except WireError as error:
            log.warning("a client of XenStore is dropped: %s", error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.connections.pop(self.peer, None)
        self._server.host.store.disconnect(self.peer)

    def flush(self) -> None:
        data = b"".join(packet.encode() for packet in self.peer.outbox)
        self.peer.outbox.clear()
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Server:
    """Runs between `start` and `stop`."""

    def __init__(self, folder: Path, places: Places, machine: Machine) -> None:
        self.folder = folder
        self.connections: dict[Peer, XenStoreConnection] = {}
        self._places = places
        self._servers: dict[Path, asyncio.Server] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._domids: frozenset[Domid] = frozenset()
        self._changes: asyncio.Queue[frozenset[Domid]] = asyncio.Queue()
        self._ports = GuestPorts(places)
        self.host = Host(
            World(
                later=self._later,
                console=self._console,
                head=_head,
                flush=self._flush,
                domains_changed=self._changes.put_nowait,
            ),
            machine,
        )

    async def start(self) -> None:
        """Listen.  OSError when the folder cannot be used."""
        self._domain_sockets.mkdir(parents=True, exist_ok=True)
        await self._listen_xenstore(self.folder / "xenstored", None)
        hypercalls = self.folder / "hypercalls"
        hypercalls.unlink(missing_ok=True)
        self._servers[hypercalls] = await asyncio.start_unix_server(self._hypercalls, hypercalls)

    async def follow_domains(self) -> None:
        """Give each introduced domain its sockets, for as long as it is there.  Ends by cancellation."""
        while True:
            now = await self._changes.get()
            for domid in self._domids - now:
                await self._close(self._domain_sockets / str(domid))
                await self._ports.close(domid)
            for domid in now - self._domids:
                await self._listen_xenstore(self._domain_sockets / str(domid), domid)
                await self._ports.open(domid)
            self._domids = now

    async def stop(self) -> None:
        for timer in self._timers:
            timer.cancel()
        for domid in self._domids:
            await self._ports.close(domid)
        for path in list(self._servers):
            await self._close(path)
        for connection in list(self.connections.values()):
            connection.close()

    @property
    def _domain_sockets(self) -> Path:
        return self.folder / "xenstored-domains"

    async def _listen_xenstore(self, path: Path, domid: Domid | None) -> None:
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._servers[path] = await loop.create_unix_server(lambda: XenStoreConnection(self, domid), path)
        path.chmod(0o600)

    async def _close(self, path: Path) -> None:
        if server := self._servers.pop(path, None):
            server.close()
            path.unlink(missing_ok=True)
        for connection in list(self.connections.values()):
            if not connection.peer.is_open:
                connection.close()

    async def _hypercalls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                if length > REQUEST_MAX:
                    log.warning("a hypercall of %d bytes", length)
                    return
                reply = self._answer(await reader.readexactly(length))
                writer.write(_LENGTH.pack(len(reply)) + reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            writer.close()

    def _answer(self, request: bytes) -> bytes:
        try:
            decoded: object = orjson.loads(request)
        except orjson.JSONDecodeError:
            decoded = None
        return orjson.dumps(answer(self.host, decoded))

    # The world, for the host

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            action()

        timer = asyncio.get_running_loop().call_later(delay_s, run)
        self._timers.add(timer)

    def _flush(self, peer: Peer) -> None:
        if peer in self.connections:
            self.connections[peer].flush()

    def _console(self, file_name: str, text: str) -> None:
        folder = self._places.at(CONSOLE_LOGS)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / file_name).open("a") as log_file:
            log_file.write(text)
