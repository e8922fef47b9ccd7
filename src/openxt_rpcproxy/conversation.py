# SPDX-License-Identifier: GPL-2.0-or-later
"""One client's conversation with the bus: authentication, then two pumps.

What becomes of a message is `passage`'s business, how the client speaks `dialect`'s.  When one direction
ends, so does the other.  A reader that stops stalls only its own conversation.
"""

import asyncio
import os
from pathlib import Path

from openxt_bus.framing import cut
from openxt_bus.transport.base import Stream
from openxt_bus.transport.sockets import close
from openxt_core.ids import Domid
from openxt_rpcproxy.auth import MAX_LINE, AuthError, BusAuth, ClientAuth
from openxt_rpcproxy.dialect import CHUNK, Dialect
from openxt_rpcproxy.passage import Passage

AUTH_TIMEOUT_S = 30.0
MAX_BUS_MESSAGE = 128 * 1024 * 1024  # the protocol's own limit


class Conversation:
    def __init__(self, stream: Stream, dialect: Dialect, passage: Passage, domid: Domid) -> None:
        self._client = stream
        self._dialect = dialect
        self._passage = passage
        self._domid = domid

    async def run(self, bus_socket: Path, auth: ClientAuth | None) -> None:
        """Returns when either side is gone, or the client broke a rule of the protocol.

        `auth`: None when the client does not authenticate and sends messages at once.
        """
        async with asyncio.timeout(AUTH_TIMEOUT_S):
            if auth is None:
                await self._dialect.begin(b"")
            else:
                await self._until_guid_wanted(auth)
            reader, writer = await asyncio.open_unix_connection(bus_socket, limit=CHUNK * 4)
        try:
            async with asyncio.timeout(AUTH_TIMEOUT_S):
                guid = await self._enter_bus(reader, writer)
                if auth is not None:
                    await self._finish_auth(auth, guid)
            await self._pump(reader, writer)
        finally:
            self._dialect.end()
            await close(writer)

    async def _until_guid_wanted(self, auth: ClientAuth) -> None:
        while not auth.wants_guid:
            await self._say(auth.feed(await self._read_client()))

    async def _finish_auth(self, auth: ClientAuth, guid: str) -> None:
        await self._say(auth.accept(guid) + auth.proceed())
        while not auth.done:
            await self._say(auth.feed(await self._read_client()))
        await self._dialect.begin(auth.rest())

    async def _say(self, answer: bytes) -> None:
        self._client.writer.write(answer)
        await self._client.writer.drain()

    async def _read_client(self) -> bytes:
        data = await self._client.reader.read(CHUNK)
        if not data:
            raise AuthError("the client left while it authenticated")
        return data

    async def _enter_bus(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Authenticate to the bus as the client's domain, or as ourselves; the bus's guid."""
        auth = BusAuth(self._domid, os.getuid())
        writer.write(auth.first())
        while True:
            raw = await reader.readuntil(b"\r\n")
            line, guid = auth.answer(raw[: MAX_LINE * 4].decode("ascii", "replace").strip())
            writer.write(line)
            if guid is not None:
                return guid

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        both = (
            asyncio.create_task(self._incoming(writer)),
            asyncio.create_task(self._outgoing(reader, writer)),
        )
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        for task in done:
            task.result()

    async def _incoming(self, writer: asyncio.StreamWriter) -> None:
        async for batch in self._dialect.batches():
            on: list[bytes] = []
            for message in batch:
                passed = await self._passage.from_client(message)
                if passed.back:
                    await self._dialect.send((passed.back,))
                if passed.on:
                    on.append(passed.on)
                if not self._passage.is_greeted:  # the next message waits for the answer to this one
                    await _send(writer, on)
            await _send(writer, on)

    async def _outgoing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = bytearray()
        while data := await reader.read(CHUNK):
            buffer += data
            passed = [await self._passage.from_bus(message) for message in cut(buffer, MAX_BUS_MESSAGE)]
            await _send(writer, [one.back for one in passed if one.back])
            on = [one.on for one in passed if one.on]
            if on:
                await self._dialect.send(on)


async def _send(writer: asyncio.StreamWriter, messages: list[bytes]) -> None:
    """Send them in one piece, and forget them."""
    if messages:
        writer.write(b"".join(messages))
        messages.clear()
        await writer.drain()
