# SPDX-License-Identifier: GPL-2.0-or-later
"""The conversations of one domain take turns: it has no more of our time by having more of them.

In one turn of the loop few of them are read, and one that has more to judge than is done at a time goes on in
a later turn, one of them in each; until then no other one is read.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from openxt_bus.transport.pipe import Pace


class Turns:
    """Of one domain."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.pace = Pace(loop)
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_due = False

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call it in a turn of its own, after those that wait already."""
        self._waiting.append(go_on)
        self._schedule()

    def _schedule(self) -> None:
        self.pace.is_behind = bool(self._waiting)
        if self._waiting and not self._is_due:
            self._is_due = True
            self._loop.call_later(0, self._next)  # after what is ready now, unlike `call_soon`

    def _next(self) -> None:
        self._is_due = False
        try:
            self._waiting.popleft()()
        finally:
            self._schedule()
