# SPDX-License-Identifier: GPL-2.0-or-later
"""Sends notices where the config says: as a D-Bus signal, or as a line to a socket.

Who does not listen misses it; a failure is logged and never stops the VM.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from openxt_core.ids import Uuid
from openxt_xenvm.config.model import Carrier, NotifyTo
from openxt_xenvm.notify import Notice, as_line

log = logging.getLogger(__name__)

SOCKET_TIMEOUT_S: Final = 5.0
MAX_WAITING: Final = 256
"""Notices for a listener that is slow; more are not told to it."""


@dataclass
class Notifier:
    """`target` may change while we run; notices keep their order on each carrier."""

    uuid: Uuid
    signal: Callable[[Notice], None]
    target: Callable[[], NotifyTo | None]
    _queue: asyncio.Queue[tuple[NotifyTo, Notice]] = field(default_factory=lambda: asyncio.Queue(MAX_WAITING))
    _sender: asyncio.Task[None] | None = None

    def tell(self, notice: Notice) -> None:
        """Returns at once.  A signal is under way then; a line waits for its turn."""
        log.info("%s", notice.message)
        target = self.target()
        if target is None:
            return
        if target.carrier is Carrier.DBUS:
            self.signal(notice)
            return
        try:
            self._queue.put_nowait((target, notice))
        except asyncio.QueueFull:
            log.warning("%s at %s is too slow: not told %s", target.carrier, target.address, notice.message)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_queued())

    async def close(self) -> None:
        """Sends what waits, then ends."""
        if self._sender is None:
            return
        try:
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                await self._queue.join()
        except TimeoutError:
            log.warning("%d notices were not sent", self._queue.qsize())
        self._sender.cancel()

    async def _send_queued(self) -> None:
        while True:
            target, notice = await self._queue.get()
            try:
                async with asyncio.timeout(SOCKET_TIMEOUT_S):
                    await _send(target, as_line(self.uuid, notice))
            except (OSError, TimeoutError) as error:
                log.warning("nobody took %s at %s: %s", notice.message, target.address, error)
            finally:
                self._queue.task_done()


async def _send(target: NotifyTo, line: str) -> None:
    if target.carrier is Carrier.UNIX:
        _, writer = await asyncio.open_unix_connection(target.address)
    else:
        _, writer = await asyncio.open_connection(target.address, target.port)
    try:
        writer.write(line.encode())
        await writer.drain()
    finally:
        writer.close()
        await writer.wait_closed()
