# SPDX-License-Identifier: GPL-2.0-or-later
"""com.citrix.xenclient.db.admin at `/`: what whoever looks after the host asks.  dom0 only."""

from collections.abc import Callable
from functools import partial

from openxt_api.db_admin import DB_ADMIN, DbAdmin
from openxt_bus.export import Face
from openxt_core.errors import AccessDenied
from openxt_core.spec import Call, MaybeAwaitable, T
from openxt_dbd.flusher import Flusher
from openxt_dbd.objects import Desk
from openxt_dbd.path import ROOT, Path


def face(desk: Desk, flusher: Flusher) -> Face:
    return Face(DB_ADMIN, partial(AdminObject, desk, flusher))


def for_dom0(operation: Callable[[], MaybeAwaitable[T]], place: Path) -> MaybeAwaitable[T]:
    """Raises AccessDenied for a caller whose place is not the whole tree."""
    if place != ROOT:
        raise AccessDenied("this is for dom0 only")
    return operation()


class AdminObject(DbAdmin):
    """One call."""

    def __init__(self, desk: Desk, flusher: Flusher, call: Call) -> None:
        self.call = call
        self._desk = desk
        self._flusher = flusher

    def sync(self) -> MaybeAwaitable[None]:
        return self._run(self._flusher.sync)

    def bad_files(self) -> MaybeAwaitable[list[tuple[str, str]]]:  # type: ignore[override]  # a struct is any sequence
        return self._run(self._desk.database.bad_files)

    def status(self) -> MaybeAwaitable[tuple[int, list[str], str]]:
        return self._run(self._status)

    def _status(self) -> tuple[int, list[str], str]:
        database = self._desk.database
        dirty = sorted(unit.file for unit in database.dirty)
        return database.revision, dirty, self._flusher.failure

    def _run(self, operation: Callable[[], MaybeAwaitable[T]]) -> MaybeAwaitable[T]:
        return self._desk.run(self.call.sender, partial(for_dom0, operation), "/")
