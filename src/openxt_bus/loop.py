# SPDX-License-Identifier: GPL-2.0-or-later
"""An event loop that serves favourites, such as the bus, without a turn of the loop for each message.

A turn costs as much as answering a plain method call.  While nothing but favourites have something to say,
their callbacks are run straight from the wait for input; as soon as one schedules anything, or anything else
is ready or due, the loop takes its usual turn.  On any other loop everything works as well, slower.
"""

import asyncio
import math
import os
import select
import selectors
from collections.abc import Callable
from contextvars import Context
from time import monotonic
from typing import Any, TypeVarTuple

from openxt_bus.alarm import Alarm
from openxt_bus.quick import Favourites

Ts = TypeVarTuple("Ts")
Ready = list[tuple[selectors.SelectorKey, int]]


class _Selector(selectors.EpollSelector):
    """Waits; meanwhile runs the callbacks of favoured descriptors until something is `stirred`."""

    report: Callable[[dict[str, Any]], None]

    def __init__(self) -> None:
        super().__init__()
        self.favourites = Favourites(self.fileno(), self._report)
        self._alarm = Alarm()
        with select.epoll.fromfd(os.dup(self.fileno())) as epoll:  # the class above would look for its key
            epoll.register(self._alarm, select.EPOLLIN | select.EPOLLET)

    def select(self, timeout: float | None = None) -> Ready:
        favourites = self.favourites
        favourites.turn += 1
        if not favourites or (timeout is not None and timeout <= 0):
            return super().select(timeout)
        if timeout is not None:
            deadline = monotonic() + timeout
            if favourites.serve(math.ceil(timeout * 1000)) and not favourites.stirred:
                # While messages come, an alarm is cheaper than a time-out for each wait.
                self._alarm.set(deadline)
                favourites.serve(-1)
        else:
            favourites.serve(-1)
        return [] if favourites.stirred else super().select(0)

    def close(self) -> None:
        self._alarm.close()
        super().close()

    def _report(self, error: Exception) -> None:
        self.report({"message": "a favoured callback failed", "exception": error})


class BusLoop(asyncio.SelectorEventLoop):
    """Give it to `asyncio.Runner` as the loop factory."""

    def __init__(self) -> None:
        selector = _Selector()
        self.favourites = selector.favourites
        super().__init__(selector)
        selector.report = self.call_exception_handler

    def favour(self, fd: int, readable: Callable[[], object]) -> None:
        """Serve `fd`, which has that callback as its reader already, without turns of the loop."""
        self.favourites.favour(fd, readable)

    def forget(self, fd: int) -> None:
        """`fd` is about to lose its reader."""
        self.favourites.forget(fd)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.favourites.stirred = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.favourites.stirred = True
        return super().call_at(when, callback, *args, context=context)

    def stop(self) -> None:
        self.favourites.stirred = True
        super().stop()
