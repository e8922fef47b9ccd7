# SPDX-License-Identifier: GPL-2.0-or-later
"""How often something may be logged: a guest can send millions of messages, and must not fill the log."""

import logging
import time

log = logging.getLogger(__name__)

BURST = 20  # lines of one conversation …
PERIOD_S = 10.0  # … in this time; the rest is counted


class LogLimit:
    """Of one conversation."""

    def __init__(self) -> None:
        self._since = 0.0
        self._count = 0

    def may_log(self) -> bool:
        """Also says how many were kept quiet, once the next period begins."""
        now = time.monotonic()
        if now - self._since > PERIOD_S:
            if self._count > BURST:
                log.warning("%d more refused messages were not logged", self._count - BURST)
            self._since, self._count = now, 0
        self._count += 1
        return self._count <= BURST
