#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP connections over dom0's second serial line, which is all that leads out of it: many streams, one line.

Each side sends frames: what it is about, the number of the stream, the length of what follows.  Connections
are made on our side alone; dom0's side (this file, run there) connects each to a port of its own loopback.
"""

from __future__ import annotations

import asyncio
import enum
import os
import struct
import sys
from contextlib import suppress

HEAD = struct.Struct(">BHI")
PORT = struct.Struct(">H")
CHUNK = 16 * 1024
MAX_FRAME = 64 * 1024


class Kind(enum.IntEnum):
    OPEN = 1  # a stream begins: its port
    DATA = 2
    CLOSE = 3  # nothing more comes
    READY = 4  # dom0: connections can be made
    END = 5  # us: no more will be


class Relay:
    """One end of the line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._streams: dict[int, asyncio.StreamWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = 0
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Until the other side ends, or the line does."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, stream, size = HEAD.unpack(await self._reader.readexactly(HEAD.size))
                if size > MAX_FRAME:
                    raise ValueError(f"a frame of {size} bytes: the line is out of step")
                data = await self._reader.readexactly(size)
                if kind == Kind.END:
                    return
                await self._take(Kind(kind), stream, data)

    async def _take(self, kind: Kind, stream: int, data: bytes) -> None:
        if kind is Kind.READY:
            self.ready.set()
        elif kind is Kind.OPEN:
            await self._connect(stream, PORT.unpack(data)[0])
        elif (writer := self._streams.get(stream)) is not None:
            if kind is Kind.DATA:
                writer.write(data)
            else:
                writer.close()
                del self._streams[stream]

    async def _connect(self, stream: int, port: int) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await self.send(Kind.CLOSE, stream)
            return
        self._join(stream, reader, writer)

    async def listen(self, far_port: int) -> int:
        """A port of ours that leads to `far_port` of the other side."""

        async def opened(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._last += 1
            self._join(self._last, reader, writer)
            await self.send(Kind.OPEN, self._last, PORT.pack(far_port))

        server = await asyncio.start_server(opened, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    def _join(self, stream: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams[stream] = writer
        task = asyncio.ensure_future(self._pump(stream, reader))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self, stream: int, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):  # that of the line, too: its end is told by `run`
            with suppress(ConnectionResetError):
                while data := await reader.read(CHUNK):
                    await self.send(Kind.DATA, stream, data)
            if self._streams.pop(stream, None) is not None:
                await self.send(Kind.CLOSE, stream)

    async def send(self, kind: Kind, stream: int = 0, data: bytes = b"") -> None:
        self._writer.write(HEAD.pack(kind, stream, len(data)) + data)
        await self._writer.drain()


async def at_dom0(line: str) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    incoming = open(os.open(line, os.O_RDWR | os.O_NOCTTY), "rb", buffering=0)  # noqa: SIM115  (the loop's)
    outgoing = open(os.open(line, os.O_WRONLY | os.O_NOCTTY), "wb", buffering=0)  # noqa: SIM115
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), incoming)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, outgoing)
    relay = Relay(reader, asyncio.StreamWriter(transport, protocol, None, loop))
    await relay.send(Kind.READY)
    await relay.run()


if __name__ == "__main__":
    asyncio.run(at_dom0(sys.argv[1]))
