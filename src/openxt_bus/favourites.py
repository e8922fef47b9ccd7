# SPDX-License-Identifier: GPL-2.0-or-later
"""Callbacks of descriptors that are run straight from the wait for input.

The twin of native/quick/favourites.c, which is used where it was built.
"""

import os
import select
from collections.abc import Callable
from typing import Final

AT_A_TIME: Final = 64  # descriptors
_INPUT: Final = select.EPOLLIN


class Favourites:
    """Of the descriptors of one epoll instance; it has to stay open for as long as these are used.

    `report` is told what a callback has raised.
    """

    __slots__ = ("_callbacks", "_epoll", "_report", "stirred", "turn")

    def __init__(self, epoll: int, report: Callable[[Exception], object]) -> None:
        self._epoll = select.epoll.fromfd(os.dup(epoll))
        self._report = report
        self._callbacks: dict[int, Callable[[], object]] = {}
        self.stirred = False
        """Set by whoever has something else done than waiting; unset by each wait."""
        self.turn = 0
        """Counts the looks at what is ready: whoever had its share waits for the next."""

    def __len__(self) -> int:
        return len(self._callbacks)

    def favour(self, fd: int, callback: Callable[[], object]) -> None:
        self._callbacks[fd] = callback
        self.stirred = True

    def forget(self, fd: int) -> None:
        if self._callbacks.pop(fd, None) is not None:
            self.stirred = True

    def serve(self, timeout_ms: int) -> bool:
        """Wait for input, once, or again and again where there is no time-out (-1), and run the callbacks.

        Ends as soon as one of them has `stirred` anything.  False: something else is ready, or the time is
        over; nobody was told of that.
        """
        self.stirred = False
        while ready := self._epoll.poll(timeout_ms / 1000 if timeout_ms >= 0 else None, AT_A_TIME):
            for fd, event in ready:
                callback = self._callbacks.get(fd)
                if callback is None or event != _INPUT:
                    return False
                try:
                    callback()
                except Exception as error:  # noqa: BLE001  (as a loop does for any other callback)
                    self._report(error)
                if self.stirred:
                    return True
            self.turn += 1
            if timeout_ms >= 0:
                return True
        return False
