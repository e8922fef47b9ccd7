# SPDX-License-Identifier: GPL-2.0-or-later
"""How often something may be logged: a guest can send millions of messages, and must not fill the log."""

import logging
import time

log = logging.getLogger(__name__)

BURST = 20  # lines of one domain …
PERIOD_S = 10.0  # … in this time; the rest is counted


class LogLimit:
    """Of one domain, or of one sort of lines about it."""

    def __init__(self, burst: int = BURST, period_s: float = PERIOD_S, whose: str = "") -> None:
        """`whose` lines they are, for the one that says that there are too many; "" says nothing."""
        self._burst = burst
        self._period_s = period_s
        self._whose = whose
        self._until = 0.0
        self._count = 0
        self._is_flooded = False

    def may_log(self) -> bool:
        """Also says when the limit is met, and how many were kept quiet, once the next period begins."""
        now = time.monotonic()
        if now >= self._until:
            self._begin(now)
        self._count += 1
        if self._count > self._burst and self._whose and not self._is_flooded:
            self._is_flooded = True
            log.warning(
                "LIMIT %s: more than %d lines in %d s; the others are counted",
                *(self._whose, self._burst, self._period_s),
            )
        return self._count <= self._burst

    def _begin(self, now: float) -> None:
        more = self._count - self._burst
        if more > 0:
            log.warning("%d more lines like the next were not logged", more)
        self._is_flooded = more > 0  # then it was said
        self._until, self._count = now + self._period_s, 0
