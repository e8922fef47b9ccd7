# SPDX-License-Identifier: GPL-2.0-or-later
"""Who keeps a copy of a part of the tree is told before it is outdated.  No I/O.

A lease is on a path and ends with the first change at it, below it or above it.
"""

from collections.abc import Callable
from typing import Final

from openxt_dbd.path import Path

MAX_LEASES: Final = 4096


class Leases:
    """The paths that somebody has a copy of."""

    def __init__(self) -> None:
        self._paths: dict[Path, None] = {}  # the oldest first
        self._longest = 0
        self.on_lapse: Callable[[Path], None] = lambda _: None

    def __len__(self) -> int:
        return len(self._paths)

    def grant(self, path: Path) -> None:
        """Another one of the same path is the same lease; the oldest lapses when there are too many."""
        self._paths[path] = None
        self._longest = max(self._longest, len(path))
        if len(self._paths) > MAX_LEASES:
            self._end(next(iter(self._paths)))

    def lapse(self, path: Path) -> None:
        """Something changes at a path: end the leases there, above and below."""
        for length in range(min(len(path), self._longest) + 1):
            if path[:length] in self._paths:
                self._end(path[:length])
        if len(path) < self._longest:
            for below in [one for one in self._paths if one[: len(path)] == path]:
                self._end(below)

    def _end(self, path: Path) -> None:
        del self._paths[path]
        self.on_lapse(path)
