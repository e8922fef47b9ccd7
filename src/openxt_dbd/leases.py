# SPDX-License-Identifier: GPL-2.0-or-later
"""Who keeps a copy of a part of the tree is told before it is outdated.  No I/O.

A lease is on a path and ends with the first change at it, below it or above it.  It is on a whole part, such
as `/vm/<uuid>`: single leaves are changed in place in many ways, and who looks at them asks for them.
"""

from collections.abc import Callable
from typing import Final

from openxt_core.errors import BadRequest
from openxt_dbd import path as paths
from openxt_dbd.path import Path

MAX_LEASES: Final = 4096
MAX_NAMES: Final = 2
"""In a path.  A change in place, made without a look at leases, is then never the first below."""


class Leases:
    """The paths that somebody has a copy of."""

    def __init__(self) -> None:
        self._paths: dict[Path, None] = {}  # the oldest first
        self._longest = 0
        self.on_lapse: Callable[[Path], None] = lambda _: None

    def __len__(self) -> int:
        return len(self._paths)

    def grant(self, path: Path) -> None:
        """Another one of the same path is the same lease; the oldest lapses when there are too many.

        Raises BadRequest for a path that is too long.
        """
        if len(path) > MAX_NAMES:
            raise BadRequest(
                f"a lease is of a whole part such as /vm/<uuid>, not of {paths.text(path)[:100]}"
            )
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
