# SPDX-License-Identifier: GPL-2.0-or-later
"""So many a second, and some at once after a rest.  Pure: the time is told."""


class Rate:
    __slots__ = ("_burst_s", "_paid_until", "_per_s")

    def __init__(self, per_s: int, burst: int, paid_until: float) -> None:
        """`paid_until`: the rest before the first began then."""
        self._per_s = per_s
        self._burst_s = burst / per_s
        self._paid_until = paid_until

    def spend(self, count: int, now: float) -> float:
        """Seconds to wait before more."""
        self._paid_until = max(self._paid_until, now - self._burst_s) + count / self._per_s
        return max(0.0, self._paid_until - now)
