# SPDX-License-Identifier: GPL-2.0-or-later
"""How a peer speaks: what comes over its stream ↔ D-Bus messages.  Here: as D-Bus itself does."""

from typing import Protocol

from openxt_bus.transport.base import Stream


class Dialect(Protocol):
    @property
    def is_waiting(self) -> bool:
        """What was fed waits for `settle`."""
        ...

    @property
    def is_over(self) -> bool:
        """The peer, or a fault of its own, ended the conversation: send what there is to send, then close."""
        ...

    @property
    def held_bytes(self) -> int:
        """What is kept of the peer: texts that are not whole, or wait."""
        ...

    async def begin(self, stream: Stream) -> None:
        """Before any message.  Raises AuthError."""
        ...

    def feed(self, data: bytes) -> bytes:
        """What came over the stream → the bytes of messages.  Raises FramingError for what is none."""
        ...

    def take(self) -> bytes:
        """What is to be sent to the peer without a message."""
        ...

    def send(self, messages: bytes) -> bytes:
        """Whole messages for the peer → what is sent over its stream."""
        ...

    async def settle(self) -> None:
        """Find out what was missing; then `feed` goes on, if only with nothing."""
        ...

    def end(self) -> bytes:
        """The conversation is over: the word for it, where there is one."""
        ...


class RawDialect:
    """D-Bus messages as they are."""

    is_waiting = False
    is_over = False
    held_bytes = 0

    async def begin(self, stream: Stream) -> None:
        """Nothing comes before the messages."""

    def feed(self, data: bytes) -> bytes:
        return data

    def take(self) -> bytes:
        return b""

    def send(self, messages: bytes) -> bytes:
        return messages

    async def settle(self) -> None:
        """It never waits."""

    def end(self) -> bytes:
        """The end of the stream says it."""
        return b""
