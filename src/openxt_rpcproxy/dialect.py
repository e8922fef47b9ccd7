# SPDX-License-Identifier: GPL-2.0-or-later
"""How a client speaks: what comes over its stream ↔ D-Bus messages.  Here: as D-Bus itself does."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from openxt_bus.framing import cut
from openxt_bus.transport.base import Stream

CHUNK = 64 * 1024
MAX_GUEST_MESSAGE = 8 * 1024 * 1024


class Dialect(Protocol):
    async def begin(self, first: bytes) -> None:
        """Before any message; `first` was read from the stream already.  Raises AuthError."""
        ...

    def batches(self) -> AsyncIterator[Sequence[bytes]]:
        """What the client says, as it comes, until it leaves.  Raises FramingError for what is no message."""
        ...

    async def send(self, messages: Sequence[bytes]) -> None:
        """Returns when the client's stream takes more."""
        ...

    def end(self) -> None:
        """The conversation is over: say so where there is a word for it.  Waits for nothing."""
        ...


class RawDialect:
    """D-Bus messages as they are."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def begin(self, first: bytes) -> None:
        self._buffer += first

    async def batches(self) -> AsyncIterator[Sequence[bytes]]:
        while True:
            messages = list(cut(self._buffer, MAX_GUEST_MESSAGE))
            if messages:
                yield messages
            data = await self._stream.reader.read(CHUNK)
            if not data:
                return
            self._buffer += data

    async def send(self, messages: Sequence[bytes]) -> None:
        self._stream.writer.write(b"".join(messages))
        await self._stream.writer.drain()

    def end(self) -> None:
        """The end of the stream says it."""
