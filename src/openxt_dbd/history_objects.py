# SPDX-License-Identifier: GPL-2.0-or-later
"""com.citrix.xenclient.db.history at `/`: former states, and the way back to one.  dom0 only."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from openxt_api.db_history import DB_HISTORY, DbHistory
from openxt_bus.export import Face
from openxt_core.errors import BadRequest, Unavailable
from openxt_core.spec import Call, MaybeAwaitable, T
from openxt_dbd import past, tree
from openxt_dbd import path as paths
from openxt_dbd.admin import for_dom0
from openxt_dbd.draft import Draft
from openxt_dbd.flusher import Flusher
from openxt_dbd.history import History
from openxt_dbd.objects import Desk
from openxt_dbd.past import Difference, Past
from openxt_dbd.path import Path
from openxt_dbd.placement import unit_of

Row = tuple[int, int, str, list[str]]


def face(desk: Desk, history: History, flusher: Flusher) -> Face:
    return Face(DB_HISTORY, partial(HistoryObject, desk, history, flusher))


class HistoryObject(DbHistory):
    """One call."""

    def __init__(self, desk: Desk, history: History, flusher: Flusher, call: Call) -> None:
        self.call = call
        self._desk = desk
        self._history = history
        self._flusher = flusher

    def log(self, path: str, count: int) -> MaybeAwaitable[list[Row]]:  # type: ignore[override]  # a struct is any sequence
        return self._run(partial(self._log, paths.parse(path), count))

    def diff(self, path: str, since: int, until: int) -> MaybeAwaitable[list[Difference]]:  # type: ignore[override]  # as log
        return self._run(partial(self._diff, paths.parse(path), since, until))

    def undo(self, path: str, revision: int) -> MaybeAwaitable[int]:
        return self._run(partial(self._undo, paths.parse(path), revision))

    def _run(self, operation: Callable[[], MaybeAwaitable[T]]) -> MaybeAwaitable[T]:
        return self._desk.run(self.call.sender, partial(for_dom0, operation), "/")

    async def _log(self, path: Path, count: int) -> list[Row]:
        found = past.revisions(await self._past(path))
        return [_row(revision, found[revision]) for revision in list(found)[:count]]

    async def _diff(self, path: Path, since: int, until: int) -> list[Difference]:
        if unit_of(path) is None:
            raise BadRequest(f"name one VM, or another part of the database: {paths.text(path)} has many")
        unit_path = path[:2] if path[0] in ("vm", "dom-store") else path[:1]
        known = await self._past(unit_path)
        oldest = min((one.revision for one in known), default=since + 1)
        if not oldest - 1 <= since <= until:
            raise BadRequest(
                f"revisions {oldest - 1} to {self._desk.database.revision} are known, in this order"
            )
        new = past.rewound(self._desk.database.root, [one for one in known if one.revision > until])
        old = past.rewound(new, [one for one in known if since < one.revision <= until])
        return list(past.differences(tree.find(old, path), tree.find(new, path), path))

    async def _undo(self, path: Path, revision: int) -> int:
        known = past.revisions(await self._past(path))
        wanted = known.get(revision or next(iter(known), 0), [])
        mine = [one for one in wanted if one.path[: len(path)] == path]
        if not mine:
            raise BadRequest(_nothing(path, revision, wanted))
        database = self._desk.database
        draft = Draft(database.root)
        for change in past.reverse(database.root, mine):
            draft.put(change)
        return database.commit(draft, writer=self.call.sender)

    async def _past(self, path: Path) -> Sequence[Past]:
        """Oldest first."""
        self._desk.database.settle()
        unsaved = self._history.unsaved(path)
        try:
            saved = await self._flusher.on_thread(partial(self._history.past, path))
        except OSError as error:
            raise Unavailable(f"the history cannot be read: {error}") from error
        return list(dict.fromkeys([*saved, *unsaved]))


def _row(revision: int, changes: Sequence[Past]) -> Row:
    first: Any = changes[0]
    return revision, first.time_ms, first.who, [paths.text(one.path) for one in changes]


def _nothing(path: Path, revision: int, wanted: Sequence[Past]) -> str:
    here = f"at or below {paths.text(path)}"
    if wanted:
        return f"revision {wanted[0].revision} changed all of {paths.text(wanted[0].path)}: undo it there"
    if revision:
        return f"revision {revision} is not remembered, or changed nothing {here}"
    return f"no revision that is remembered changed something {here}"
