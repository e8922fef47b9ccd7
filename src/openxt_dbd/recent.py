# SPDX-License-Identifier: GPL-2.0-or-later
"""The latest changes, in memory: for who asks whether something has changed since, and for who tells of it.

How many are kept is enough for seconds of hard work.  Pure.
"""

import operator
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, takewhile
from typing import Final, NamedTuple, TypeAlias

from openxt_core.errors import Conflict
from openxt_dbd.path import Path
from openxt_dbd.path import text as text_of
from openxt_dbd.tree import ABSENT, Absent, Node

MAX_RECENT: Final = 4096

Event: TypeAlias = tuple[int, Path, bool, str, float, Node | Absent, Node | Absent]
"""Revision, path, whether it has entries below or had, writer (unique bus name; empty: dbd itself), seconds
since 1970, old and new node: an entry became another.

Those of one revision were one operation.  Plain tuples: one is made for each write.
"""

revision_of: Final[Callable[[Event], int]] = operator.itemgetter(0)
path_of: Final[Callable[[Event], Path]] = operator.itemgetter(1)
writer_of: Final[Callable[[Event], str]] = operator.itemgetter(3)


def without_values(event: Event) -> Event:
    """For who wants to know of a change, but must not keep what may be large."""
    return (*event[:5], ABSENT, ABSENT)


class Seen(NamedTuple):
    """Somebody knows how a part of the tree was at a revision."""

    path: Path
    revision: int


class Recent:
    """What was made after the revision `floor`, unless that has grown too old."""

    def __init__(self, floor: int = 0) -> None:
        self._floor = floor
        self._made: deque[Event] = deque(maxlen=MAX_RECENT)

    def extend(self, made: Sequence[Event]) -> None:
        """Values are kept for as long as their events: large ones should not be among them."""
        dropped = len(self._made) + len(made) - MAX_RECENT
        if dropped > 0:
            self._floor = (self._made[dropped - 1] if dropped <= len(self._made) else made[-MAX_RECENT - 1])[
                0
            ]
        self._made.extend(made)

    def since(self, revision: int) -> Sequence[Event] | None:
        """What was made after a revision, oldest first; None if that is not known any more."""
        if revision < self._floor:
            return None
        count = len(self._made) - bisect_right(self._made, revision, key=revision_of)
        return list(islice(reversed(self._made), count))[::-1]  # none of the others is touched

    def need_unchanged(self, unchanged: Iterable[Seen]) -> None:
        """Raises Conflict if anything at, above or below one of the paths was changed since it was seen."""
        for path, revision in unchanged:
            if revision < self._floor:
                raise Conflict(f"what was changed since revision {revision} is not known any more")
            for made in takewhile(lambda made: made[0] > revision, reversed(self._made)):  # noqa: B023
                if overlap(made[1], path):
                    raise Conflict(f"{text_of(path)} was changed after revision {revision}")


def overlap(one: Path, other: Path) -> bool:
    """Whether a path is the other or above it."""
    common = min(len(one), len(other))
    return one[:common] == other[:common]
