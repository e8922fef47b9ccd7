# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams of JSON texts from and to a client: each ended by NUL, or each a message of a WebSocket."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from openxt_bus.framing import FramingError
from openxt_bus.transport.base import Stream
from openxt_rpcproxy.auth import AuthError
from openxt_rpcproxy.websocket import MAX_TEXT, Admission, WebSocket

CHUNK = 64 * 1024


class Texts(Protocol):
    async def begin(self) -> None:
        """Raises AuthError when the client is not let in."""
        ...

    def receive(self) -> AsyncIterator[bytes]:
        """Each text, until the client leaves.  Raises FramingError when one is too large."""
        ...

    async def send(self, texts: Sequence[bytes]) -> None: ...

    def end(self) -> None:
        """No more texts will be sent or read.  Waits for nothing."""
        ...


class NulTexts:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def begin(self) -> None:
        """There is nothing to agree on."""

    async def receive(self) -> AsyncIterator[bytes]:
        buffer = bytearray()
        while data := await self._stream.reader.read(CHUNK):
            first, *others = data.split(b"\0")
            buffer += first
            for other in others:
                yield bytes(buffer)
                buffer = bytearray(other)
            if len(buffer) > MAX_TEXT:
                raise FramingError(f"text of more than {MAX_TEXT} bytes")

    async def send(self, texts: Sequence[bytes]) -> None:
        self._stream.writer.write(b"".join(text + b"\0" for text in texts))
        await self._stream.writer.drain()

    def end(self) -> None:
        """The end of the stream says it."""


class WebSocketTexts:
    def __init__(self, stream: Stream, admission: Admission) -> None:
        self._stream = stream
        self._socket = WebSocket(admission)
        self._early: list[bytes] = []  # came together with the handshake

    async def begin(self) -> None:
        while not self._socket.is_open:
            data = await self._stream.reader.read(CHUNK)
            self._early += self._socket.feed(data)
            await self._flush()
            if self._socket.is_over or not data:
                raise AuthError("the WebSocket handshake failed")

    async def receive(self) -> AsyncIterator[bytes]:
        texts = self._early
        while True:
            for text in texts:
                yield text
            if self._socket.is_over:
                return
            data = await self._stream.reader.read(CHUNK)
            if not data:
                return
            texts = self._socket.feed(data)
            await self._flush()

    async def send(self, texts: Sequence[bytes]) -> None:
        for text in texts:
            self._socket.send(text)
        await self._flush()

    def end(self) -> None:
        self._socket.close()
        if not self._stream.writer.is_closing():
            self._stream.writer.write(self._socket.take())

    async def _flush(self) -> None:
        self._stream.writer.write(self._socket.take())
        await self._stream.writer.drain()
