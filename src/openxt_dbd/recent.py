# SPDX-License-Identifier: GPL-2.0-or-later
"""The latest changes, in memory: for who asks whether something has changed since, and for who tells of it.

No values, only what changed and who did it.  How many are kept is enough for seconds of hard work.  Pure.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Final, NamedTuple

from openxt_core.errors import Conflict
from openxt_dbd.path import Path
from openxt_dbd.path import text as text_of

MAX_RECENT: Final = 4096


class Made(NamedTuple):
    """One entry that became another; those of one revision were one operation."""

    revision: int
    path: Path
    is_tree: bool  # it has entries below, or had
    writer: str  # unique bus name; empty: dbd itself


class Seen(NamedTuple):
    """Somebody knows how a part of the tree was at a revision."""

    path: Path
    revision: int


class Recent:
    """What was made after the revision `floor`, unless that has grown too old."""

    def __init__(self, floor: int = 0) -> None:
        self._floor = floor
        self._made: deque[Made] = deque()

    def extend(self, made: Iterable[Made]) -> None:
        self._made.extend(made)
        while len(self._made) > MAX_RECENT:
            self._floor = self._made.popleft().revision

    def since(self, revision: int) -> Sequence[Made] | None:
        """What was made after a revision, oldest first; None if that is not known any more."""
        if revision < self._floor:
            return None
        found = list(takewhile(lambda made: made.revision > revision, reversed(self._made)))
        return found[::-1]

    def need_unchanged(self, unchanged: Iterable[Seen]) -> None:
        """Raises Conflict if anything at, above or below one of the paths was changed since it was seen."""
        for path, revision in unchanged:
            if revision < self._floor:
                raise Conflict(f"what was changed since revision {revision} is not known any more")
            for made in takewhile(lambda made: made.revision > revision, reversed(self._made)):  # noqa: B023
                if overlap(made.path, path):
                    raise Conflict(f"{text_of(path)} was changed after revision {revision}")


def overlap(one: Path, other: Path) -> bool:
    """Whether a path is the other or above it."""
    common = min(len(one), len(other))
    return one[:common] == other[:common]
