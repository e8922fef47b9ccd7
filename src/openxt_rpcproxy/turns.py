# SPDX-License-Identifier: GPL-2.0-or-later
"""The conversations of one domain take turns: it has no more of our time by having more of them.

In one turn of the loop few of them are read, and one that has more to judge than is done at a time goes on in
a later turn, one of them in each; until then no other one is read.  After many turns at once there are few a
second: a flood then takes less than a hundredth of the time, so that not even others' late calls wait for it.
"""

import asyncio
from collections.abc import Callable

from openxt_bus.transport.pipe import Pace
from openxt_rpcproxy.rate import Rate

PAUSE_S = 0.1
"""When no turn is left: several may be taken then.  One at a time, each would find nothing of what it needs
in the processor's cache, and more of others' calls would meet one."""


class Turns:
    """Of one domain."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: Rate) -> None:
        """`rate`: of turns."""
        self.pace = Pace(loop)
        self._loop = loop
        self._rate = rate
        self._waiting: dict[Callable[[], None], bool] = {}  # in order; whether the turn costs something
        self._is_due = False

    def wait(self, go_on: Callable[[], None], *, is_free: bool) -> None:
        """Call it in a turn of its own, after those that wait already; once, however often it is said.

        `is_free`: whatever the rate.
        """
        self._waiting[go_on] = is_free
        self._schedule()

    @property
    def is_paused(self) -> bool:
        """No turn is left for now."""
        return bool(self._waiting) and not self.pace.is_behind

    def _schedule(self) -> None:
        if not self._waiting:
            self.pace.is_behind = False
        elif not self._is_due:
            is_free = next(iter(self._waiting.values()))
            is_next = is_free or not self._rate.spend(1, self._loop.time())
            self._is_due, self.pace.is_behind = True, is_next
            # At 0 after what is ready now, unlike `call_soon`.
            self._loop.call_later(0 if is_next else PAUSE_S, self._next)

    def _next(self) -> None:
        self._is_due = False
        go_on = next(iter(self._waiting))
        del self._waiting[go_on]
        try:
            go_on()
        finally:
            self._schedule()
