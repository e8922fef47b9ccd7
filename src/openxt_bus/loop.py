# SPDX-License-Identifier: GPL-2.0-or-later
"""An event loop that serves favourites, such as the bus, without a turn of the loop for each message.

A turn costs as much as answering a plain method call.  While nothing but favourites have something to say,
their callbacks are run straight from the wait for input; as soon as one schedules anything, or anything else
is ready or due, the loop takes its usual turn.  On any other loop everything works as well, slower.
"""

import asyncio
import os
import select
import selectors
from collections.abc import Callable
from contextvars import Context
from time import monotonic
from typing import Any, Protocol, TypeVarTuple

from openxt_bus.alarm import Alarm

Ts = TypeVarTuple("Ts")
Ready = list[tuple[selectors.SelectorKey, int]]
AT_A_TIME = 64  # descriptors
_INPUT = select.EPOLLIN


class Turns:
    """Counts the looks at what is ready: whoever had its share waits for the next."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class Favourite(Protocol):
    def readable(self) -> None:
        """There is something to read: read once."""
        ...


class _Selector(selectors.EpollSelector):
    """Waits; meanwhile runs the callbacks of favoured descriptors until something is `stirred`."""

    report: Callable[[dict[str, Any]], None]
    stirred = False

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns()
        self.favoured: dict[int, Favourite] = {}
        # The same set of descriptors, without what the class above does around each wait.
        self._epoll = select.epoll.fromfd(os.dup(self.fileno()))
        self._alarm = Alarm()
        self._epoll.register(self._alarm, _INPUT | select.EPOLLET)

    def select(self, timeout: float | None = None) -> Ready:
        """Written out, as it is run for each message."""
        favoured, turns = self.favoured, self.turns
        turns.number += 1
        if not favoured or (timeout is not None and timeout <= 0):
            return super().select(timeout)
        poll = self._epoll.poll
        deadline = monotonic() + (timeout or 0.0)
        while ready := poll(timeout, AT_A_TIME):
            self.stirred = False
            for fd, event in ready:
                favourite = favoured.get(fd)
                if favourite is None or event != _INPUT:
                    return super().select(0)
                try:
                    favourite.readable()
                except Exception as error:  # noqa: BLE001  (as the loop does for any other callback)
                    self.report({"message": "a favoured callback failed", "exception": error})
                if self.stirred:
                    return []
            turns.number += 1
            if timeout is not None:  # while messages come, an alarm is cheaper than a time-out for each wait
                self._alarm.set(deadline)
                timeout = None
        return super().select(0)

    def close(self) -> None:
        self._epoll.close()
        self._alarm.close()
        super().close()


class BusLoop(asyncio.SelectorEventLoop):
    """Give it to `asyncio.Runner` as the loop factory."""

    def __init__(self) -> None:
        self._bus_selector = _Selector()
        self.turns = self._bus_selector.turns
        super().__init__(self._bus_selector)
        self._bus_selector.report = self.call_exception_handler

    def favour(self, fd: int, favourite: Favourite) -> None:
        """Serve `fd`, which has that one's `readable` as its reader already, without turns of the loop."""
        self._bus_selector.favoured[fd] = favourite
        self._bus_selector.stirred = True

    def forget(self, fd: int) -> None:
        """`fd` is about to lose its reader."""
        if self._bus_selector.favoured.pop(fd, None):
            self._bus_selector.stirred = True

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._bus_selector.stirred = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._bus_selector.stirred = True
        return super().call_at(when, callback, *args, context=context)

    def stop(self) -> None:
        self._bus_selector.stirred = True
        super().stop()
