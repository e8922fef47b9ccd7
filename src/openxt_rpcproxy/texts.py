# SPDX-License-Identifier: GPL-2.0-or-later
"""Texts in a stream of bytes: each ended by NUL, or each a message of a WebSocket."""

from collections.abc import Iterable
from typing import Protocol

from openxt_bus.framing import FramingError
from openxt_bus.transport.base import Stream
from openxt_rpcproxy.auth import AuthError
from openxt_rpcproxy.websocket import MAX_TEXT, Admission, WebSocket

CHUNK = 64 * 1024


class Texts(Protocol):
    @property
    def held_bytes(self) -> int:
        """Of a text that is not whole yet."""
        ...

    @property
    def is_over(self) -> bool:
        """No text will come any more: send what is to be sent, then close."""
        ...

    async def begin(self, stream: Stream) -> None:
        """Raises AuthError when the client is not let in."""
        ...

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came; the texts that are whole now.  Raises FramingError when one is too large."""
        ...

    def put(self, texts: Iterable[bytes]) -> None:
        """Have them sent."""
        ...

    def take(self) -> bytes:
        """What is to be sent now."""
        ...

    def end(self) -> None:
        """No more texts will be put or fed."""
        ...


class NulTexts:
    is_over = False

    def __init__(self) -> None:
        self._rest = bytearray()
        self._out: list[bytes] = []

    @property
    def held_bytes(self) -> int:
        return len(self._rest)

    async def begin(self, stream: Stream) -> None:
        """There is nothing to agree on."""

    def feed(self, data: bytes) -> list[bytes]:
        *whole, last = data.split(b"\0")
        if whole and self._rest:
            whole[0] = bytes(self._rest) + whole[0]
            self._rest.clear()
        self._rest += last
        if len(self._rest) > MAX_TEXT or max(map(len, whole), default=0) > MAX_TEXT:
            raise FramingError(f"text of more than {MAX_TEXT} bytes")
        return whole

    def put(self, texts: Iterable[bytes]) -> None:
        self._out += [text + b"\0" for text in texts]

    def take(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def end(self) -> None:
        """The end of the stream says it."""


class WebSocketTexts:
    def __init__(self, admission: Admission, *, is_text: bool = True) -> None:
        """`is_text`: whether what we send is text, or bytes."""
        self._socket = WebSocket(admission, is_text=is_text)
        self._early: list[bytes] = []  # came together with the handshake

    @property
    def held_bytes(self) -> int:
        return self._socket.held_bytes

    @property
    def is_over(self) -> bool:
        return self._socket.is_over

    async def begin(self, stream: Stream) -> None:
        while not self._socket.is_open:
            data = await stream.reader.read(CHUNK)
            self._early += self._socket.feed(data)
            stream.writer.write(self._socket.take())
            await stream.writer.drain()
            if self._socket.is_over or not data:
                raise AuthError("the WebSocket handshake failed")

    def feed(self, data: bytes) -> list[bytes]:
        texts = self._socket.feed(data)
        if self._early:
            texts = self._early + texts
            self._early = []
        return texts

    def put(self, texts: Iterable[bytes]) -> None:
        self._socket.send(texts)

    def take(self) -> bytes:
        return self._socket.take()

    def end(self) -> None:
        self._socket.close()
