# SPDX-License-Identifier: GPL-2.0-or-later
"""A pipe between domains: bytes, and the domid of the peer, which the transport vouches for."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from openxt_core.ids import Domid


@dataclass(frozen=True)
class Peer:
    """Who is at the other end.  Never taken from what the peer itself says."""

    domid: Domid
    port: int = 0


@dataclass(frozen=True)
class Stream:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: Peer


OnStream = Callable[[Stream], Awaitable[None]]


class Listener(Protocol):
    async def close(self) -> None:
        """Take no further streams; those that are open go on."""
        ...

    async def wait_served(self) -> None:
        """Returns when no stream can come any more: never, where many may."""
        ...


class Transport(Protocol):
    async def listen(self, port: int, on_stream: OnStream) -> Listener:
        """Serve each incoming stream with `on_stream`, in a task of its own; it is closed afterwards."""
        ...

    async def connect(self, domid: Domid, port: int) -> Stream:
        """Raises ConnectionRefusedError when nobody listens there."""
        ...
