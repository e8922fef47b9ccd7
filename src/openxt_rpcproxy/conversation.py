# SPDX-License-Identifier: GPL-2.0-or-later
"""One client's conversation with the bus: authentication, then two pumps.

Allowed messages go on as the same bytes; a refused call is answered with AccessDenied.  When one
direction ends, so does the other.  A reader that stops stalls only its own conversation.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from openxt_bus.framing import FramingError, Header, MessageType, cut, error_reply, first_string, scan
from openxt_bus.transport.base import Stream
from openxt_bus.transport.sockets import close
from openxt_rpcproxy.auth import MAX_LINE, AuthError, BusAuth, ClientAuth
from openxt_rpcproxy.gate import ALLOW, Gate
from openxt_rpcproxy.rules.model import Decision, Direction, Source, Verdict

log = logging.getLogger(__name__)

AUTH_TIMEOUT_S = 30.0
HELLO_TIMEOUT_S = 30.0
CHUNK = 64 * 1024
MAX_GUEST_MESSAGE = 8 * 1024 * 1024
MAX_BUS_MESSAGE = 128 * 1024 * 1024  # the protocol's own limit
ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
_OUR_SERIAL = 0xFFFFFFFF  # of replies that we make; the bus's own replies use a serial of its connection

Named = Callable[[str], None]


class Conversation:
    def __init__(self, stream: Stream, source: Source, gate: Gate | None, named: Named, uuid: str) -> None:
        """`gate`: None checks nothing.  `named` is told the unique name that the bus gave this client."""
        self._client = stream
        self._source = source
        self._gate = gate
        self._named = named
        self._uuid = uuid
        self._hello_serial = 0
        self._has_name = asyncio.Event()

    async def run(self, bus_socket: Path) -> None:
        """Returns when either side is gone, or the client broke a rule of the protocol."""
        auth = ClientAuth(self._uuid)
        async with asyncio.timeout(AUTH_TIMEOUT_S):
            await self._until_guid_wanted(auth)
            reader, writer = await asyncio.open_unix_connection(bus_socket, limit=CHUNK * 4)
        try:
            async with asyncio.timeout(AUTH_TIMEOUT_S):
                guid = await self._enter_bus(reader, writer)
                await self._finish_auth(auth, guid)
            await self._pump(auth.rest(), reader, writer)
        finally:
            await close(writer)

    async def _until_guid_wanted(self, auth: ClientAuth) -> None:
        while not auth.wants_guid:
            await self._answer(auth.feed(await self._read_client()))

    async def _finish_auth(self, auth: ClientAuth, guid: str) -> None:
        await self._answer(auth.accept(guid) + auth.proceed())
        while not auth.done:
            await self._answer(auth.feed(await self._read_client()))

    async def _answer(self, answer: bytes) -> None:
        if answer:
            self._client.writer.write(answer)
            await self._client.writer.drain()

    async def _read_client(self) -> bytes:
        data = await self._client.reader.read(CHUNK)
        if not data:
            raise AuthError("the client left while it authenticated")
        return data

    async def _enter_bus(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Authenticate to the bus as the client's domain, or as ourselves; the bus's guid."""
        auth = BusAuth(self._source.domid, os.getuid())
        writer.write(auth.first())
        while True:
            raw = await reader.readuntil(b"\r\n")
            line, guid = auth.answer(raw[: MAX_LINE * 4].decode("ascii", "replace").strip())
            writer.write(line)
            if guid is not None:
                return guid

    async def _pump(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        both = (
            asyncio.create_task(self._incoming(bytearray(first), writer)),
            asyncio.create_task(self._outgoing(reader)),
        )
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        for task in done:
            task.result()

    async def _incoming(self, buffer: bytearray, writer: asyncio.StreamWriter) -> None:
        while True:
            for message in cut(buffer, MAX_GUEST_MESSAGE):
                await self._from_client(message, writer)
            data = await self._client.reader.read(CHUNK)
            if not data:
                return
            buffer += data

    async def _from_client(self, message: bytes, writer: asyncio.StreamWriter) -> None:
        header, decision = await self._decide(message, Direction.INCOMING)
        if decision.verdict is Verdict.DENY:
            await self._refuse(header, decision)
            return
        await self._await_name(header)
        writer.write(message)
        await writer.drain()

    async def _decide(self, message: bytes, direction: Direction) -> tuple[Header, Decision]:
        if self._gate is None:
            return scan(message), ALLOW
        return await self._gate.decide(message, direction)

    async def _refuse(self, header: Header, decision: Decision) -> None:
        if header.wants_reply:
            text = f"denied by rpc-proxy: {decision.rule.text if decision.rule else 'no rule allows it'}"
            await self._answer(error_reply(header, _OUR_SERIAL, ACCESS_DENIED, text))

    async def _await_name(self, header: Header) -> None:
        """Nothing follows Hello before its answer is known: who asks us about the name gets an answer."""
        if self._has_name.is_set():
            return
        if self._hello_serial == 0:
            if header.member != "Hello" or header.type != MessageType.METHOD_CALL:
                raise FramingError("the first message is not Hello")
            self._hello_serial = header.serial
            return
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            await self._has_name.wait()

    async def _outgoing(self, reader: asyncio.StreamReader) -> None:
        buffer = bytearray()
        while data := await reader.read(CHUNK):
            buffer += data
            for message in cut(buffer, MAX_BUS_MESSAGE):
                await self._to_client(message)

    async def _to_client(self, message: bytes) -> None:
        header, decision = await self._decide(message, Direction.OUTGOING)
        if not self._has_name.is_set():
            self._learn_name(message, header)
        if decision.verdict is Verdict.ALLOW:
            await self._answer(message)

    def _learn_name(self, message: bytes, header: Header) -> None:
        if header.type == MessageType.METHOD_RETURN and header.reply_serial == self._hello_serial:
            self._named(first_string(message, header) or "")
            self._has_name.set()
