# SPDX-License-Identifier: GPL-2.0-or-later
"""com.citrix.xenclient.db.watch: who listens is told what has changed, and never more often than is good.

Changes are told a moment after they are made, together with what was made in the meantime.  Many in one part
of the tree are told as one at the path above them all: whoever writes without end costs no more than that.
"""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import chain, takewhile
from typing import Final, NamedTuple

from openxt_api.db_watch import DbWatchSignals
from openxt_core.spec import Emitter
from openxt_dbd.path import Path
from openxt_dbd.recent import Event, path_of, revision_of, writer_of
from openxt_dbd.store import Database

PAUSE_S: Final = 0.02
LONG_PAUSE_S: Final = 0.1
"""While only guests change their own parts, or after a storm: who changes things all the time shall not cost
the time of others."""
MAX_SIGNALS: Final = 16
"""At one time."""
MAX_ALONE: Final = 4
"""Paths of one part of the tree that are told each by itself."""


MAX_DETAILED: Final = 64
"""Changes below one top-level node that are looked at one by one."""


class Item(NamedTuple):
    """What one signal says."""

    path: str
    revision: int
    writer: str


class Told:
    """Changes that may be told together."""

    def __init__(self) -> None:
        self.made: dict[tuple[Path, bool], list[Event]] = {}

    def add(self, made: Event) -> None:
        self.made.setdefault((made[1], made[2]), []).append(made)

    def items(self) -> Iterable[Item]:
        """One a path, or one for all if there are many."""
        if len(self.made) <= MAX_ALONE:
            return [item(path, is_tree, made) for (path, is_tree), made in self.made.items()]
        return [_as_one(sorted(chain(*self.made.values()), key=revision_of))]


def item(path: Path, is_tree: bool, made: Sequence[Event]) -> Item:
    """Of changes in the order of their revisions."""
    writers = set(map(writer_of, made))
    text = "".join(f"/{name}" for name in path) + ("/" if is_tree or not path else "")
    return Item(text, revision_of(made[-1]), writers.pop() if len(writers) == 1 else "")


def common(made: Sequence[Event]) -> Path:
    """The path above all of them."""
    levels = zip(*map(path_of, made), strict=False)  # as many as the shortest has
    return tuple(names[0] for names in takewhile(_are_one, levels))


def _are_one(names: Sequence[str]) -> bool:
    return names[0] == names[-1] and names.count(names[0]) == len(names)


def summary(made: Sequence[Event]) -> list[Item]:
    """What to tell of these changes: a storm in one top-level node leaves the others their words."""
    if len(made) > MAX_DETAILED and (above := common(made)):
        # As below, without a look at each: a storm must not cost the writers' time.
        return [item(above, True, made)]
    tops: dict[Path, list[Event]] = {}
    for one in made:
        tops.setdefault(one[1][:1], []).append(one)
    items = [item for part in tops.values() for item in _in_detail(part)]
    return items if len(items) <= MAX_SIGNALS else [_as_one(made)]


def _in_detail(made: Sequence[Event]) -> Iterable[Item]:
    if len(made) > MAX_DETAILED:
        return [_as_one(made)]
    groups: dict[Path, Told] = {}
    for one in made:
        groups.setdefault(one[1][:2], Told()).add(one)
    items = [item for told in groups.values() for item in told.items()]
    return items if len(items) <= MAX_SIGNALS // 2 else [_as_one(made)]


def _as_one(made: Sequence[Event]) -> Item:
    return item(common(made), True, made)


class News:
    """Tells of a database's changes on the bus."""

    def __init__(self, database: Database, emitter: Emitter) -> None:
        self._database = database
        self._signals = DbWatchSignals(emitter, "/")
        self._pause_s = PAUSE_S
        database.news()  # what the files said is known to who begins to listen now
        database.on_news = self._tell_soon

    def _tell_soon(self, is_guests: bool) -> None:
        asyncio.get_running_loop().call_later(LONG_PAUSE_S if is_guests else self._pause_s, self._tell)

    def _tell(self) -> None:
        made = self._database.news()
        self._pause_s = LONG_PAUSE_S if made is None or len(made) > MAX_DETAILED else PAUSE_S
        items = [Item("/", self._database.revision, "")] if made is None else summary(made)
        for path, revision, writer in items:
            self._signals.changed(path, revision, writer)
