# SPDX-License-Identifier: GPL-2.0-or-later
"""What the socket transports share: accept, serve in a task of its own, close."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from openxt_bus.transport.base import OnStream, Peer, Stream

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0


class Server(Protocol):
    """What accepts for us: an asyncio.Server, or the like of it."""

    def close(self) -> None: ...


NamePeer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Peer]]


class SocketListener:
    """Serves a server's streams; the tasks belong to it."""

    def __init__(self, on_stream: OnStream, name_peer: NamePeer) -> None:
        self._on_stream = on_stream
        self._name_peer = name_peer
        self.server: Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            peer = await self._name_peer(reader, writer)
            await self._on_stream(Stream(reader, writer, peer))
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError) as error:
            log.info("a stream ended early: %s", error)
        finally:
            await close(writer)

    async def wait_served(self) -> None:
        """There may always be another one."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def close(writer: asyncio.StreamWriter, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
    """Send what is queued, close, and wait until it is closed; a peer that is gone already is fine.

    One that reads nothing any more is cut off after a while: what it never fetches must not stay in memory.
    """
    writer.close()
    try:
        async with asyncio.timeout(timeout_s):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
    except OSError:
        pass
