# SPDX-License-Identifier: GPL-2.0-or-later
"""How often something may be logged: a guest can send millions of messages, and must not fill the log."""

import logging
import time

log = logging.getLogger(__name__)

BURST = 20  # lines of one domain …
PERIOD_S = 10.0  # … in this time; the rest is counted


class LogLimit:
    """Of one domain, or of one sort of lines about it."""

    def __init__(self, burst: int = BURST, period_s: float = PERIOD_S) -> None:
        self._burst = burst
        self._period_s = period_s
        self._until = 0.0
        self._count = 0

    def may_log(self) -> bool:
        """Also says how many were kept quiet, once the next period begins."""
        now = time.monotonic()
        if now >= self._until:
            if self._count > self._burst:
                log.warning("%d more lines like the next were not logged", self._count - self._burst)
            self._until, self._count = now + self._period_s, 0
        self._count += 1
        return self._count <= self._burst
