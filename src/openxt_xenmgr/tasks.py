# SPDX-License-Identifier: GPL-2.0-or-later
"""Background work with an owner: every task is named, its failure logged, and none outlives the daemon."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from openxt_core.errors import OpenxtError

log = logging.getLogger(__name__)


class Background:
    """Runs coroutines beside the calls that asked for them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, what: str, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work`; a failure is logged with `what`."""
        task = asyncio.get_running_loop().create_task(_guarded(what, work), name=what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel all that is left and wait until it has ended."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _guarded(what: str, work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except OpenxtError as error:
        log.warning("%s: %s", what, error.text)
    except Exception:  # the owner of background work is a dispatcher
        log.exception("%s failed", what)


class Debounce:
    """Acts once, some time after the last of a series of requests with the same key."""

    def __init__(self, delay_s: float, act: Callable[[str], None]) -> None:
        self._delay_s = delay_s
        self._act = act
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def request(self, key: str) -> None:
        self.forget(key)
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(self._delay_s, self._due, key)

    def request_once(self, key: str) -> None:
        """Like `request`, but the first of a series sets the time: whoever never stops asking is served."""
        if key not in self._timers:
            self.request(key)

    def forget(self, key: str) -> None:
        """What was asked for `key` shall not happen any more."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _due(self, key: str) -> None:
        del self._timers[key]
        self._act(key)
