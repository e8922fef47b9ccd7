# SPDX-License-Identifier: GPL-2.0-or-later
"""One client's conversation with the bus: authentication on both sides, then a relay between two pipes.

What becomes of a message is `passage`'s business, how a peer speaks `dialect`'s.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable

from openxt_bus.transport.base import Stream
from openxt_bus.transport.pipe import pipe_of
from openxt_core.errors import Unavailable
from openxt_core.ids import Domid
from openxt_rpcproxy.auth import MAX_LINE, AuthError, BusAuth, ClientAuth
from openxt_rpcproxy.budget import Share
from openxt_rpcproxy.dialect import Dialect
from openxt_rpcproxy.passage import Passage
from openxt_rpcproxy.relay import Relay

AUTH_TIMEOUT_S = 30.0
READ_SIZE = 4096

Connect = Callable[[], Awaitable[Stream]]


class Conversation:
    def __init__(self, client: Stream, dialects: tuple[Dialect, Dialect], domid: Domid) -> None:
        """`dialects`: of the client, and of the bus."""
        self._client = client
        self._dialect, self._bus_dialect = dialects
        self._domid = domid

    async def run(
        self, connect: Connect, auth: ClientAuth | None, passage: Passage, share: Share, *, enters: bool
    ) -> None:
        """Returns when either side is gone; raises AuthError, FramingError, LimitsExceeded or TimeoutError
        when the client broke a rule, Unavailable when there is no bus.

        `auth`: None when the client does not authenticate and sends messages at once.  `enters`: whether we
        authenticate to the bus.
        """
        async with asyncio.timeout(AUTH_TIMEOUT_S):
            if auth is None:
                await self._dialect.begin(self._client)
            else:
                await self._until_guid_wanted(auth)
            try:
                bus = await connect()
            except OSError as error:
                raise Unavailable(f"the bus does not answer: {error}") from None
        try:
            async with asyncio.timeout(AUTH_TIMEOUT_S):
                guid = await self._enter_bus(bus) if enters else ""
                early = await self._finish_auth(auth, guid) if auth is not None else b""
            await self._relay(bus, early, passage, share)
        finally:
            bus.writer.close()

    async def _relay(self, bus: Stream, early: bytes, passage: Passage, share: Share) -> None:
        client_pipe, bus_pipe = await pipe_of(self._client, early), await pipe_of(bus)
        relay = Relay((client_pipe, self._dialect), (bus_pipe, self._bus_dialect), passage, share)
        try:
            await relay.run()
        finally:
            farewell = self._dialect.end()
            if farewell:
                client_pipe.send(farewell)
            async with asyncio.TaskGroup() as group:
                group.create_task(bus_pipe.close())
                group.create_task(client_pipe.close())

    async def _until_guid_wanted(self, auth: ClientAuth) -> None:
        while not auth.wants_guid:
            await self._say(auth.feed(await self._read_client()))

    async def _finish_auth(self, auth: ClientAuth, guid: str) -> bytes:
        """What came after the client's BEGIN."""
        await self._say(auth.accept(guid) + auth.proceed())
        while not auth.done:
            await self._say(auth.feed(await self._read_client()))
        return auth.rest()

    async def _say(self, answer: bytes) -> None:
        self._client.writer.write(answer)
        await self._client.writer.drain()

    async def _read_client(self) -> bytes:
        data = await self._client.reader.read(READ_SIZE)
        if not data:
            raise AuthError("the client left while it authenticated")
        return data

    async def _enter_bus(self, bus: Stream) -> str:
        """Authenticate to the bus as the client's domain, or as ourselves; the bus's guid."""
        auth = BusAuth(self._domid, os.getuid())
        bus.writer.write(auth.first())
        while True:
            raw = await bus.reader.readuntil(b"\r\n")
            line, guid = auth.answer(raw[: MAX_LINE * 4].decode("ascii", "replace").strip())
            bus.writer.write(line)
            if guid is not None:
                return guid
