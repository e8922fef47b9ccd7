# SPDX-License-Identifier: GPL-2.0-or-later
"""com.citrix.xenclient.db.watch at `/`: leases.  dom0 only.  What changes is told by `news`."""

from functools import partial

from openxt_api.db_watch import DB_WATCH, DbWatch, DbWatchSignals
from openxt_bus.export import Face
from openxt_core.errors import AccessDenied
from openxt_core.spec import Call, Emitter, MaybeAwaitable
from openxt_dbd import path as paths
from openxt_dbd.objects import Desk
from openxt_dbd.path import ROOT, Path


def face(desk: Desk, emitter: Emitter) -> Face:
    signals = DbWatchSignals(emitter, "/")
    desk.database.leases.on_lapse = lambda path: signals.lapsed(paths.text(path))
    return Face(DB_WATCH, partial(LeaseObject, desk))


class LeaseObject(DbWatch):
    """One call."""

    def __init__(self, desk: Desk, call: Call) -> None:
        self.call = call
        self._desk = desk

    def lease(self, path: str) -> MaybeAwaitable[tuple[int, str]]:
        return self._desk.run(self.call.sender, partial(self._lease, paths.parse(path)), "/")

    def _lease(self, path: Path, place: Path) -> tuple[int, str]:
        if place != ROOT:
            raise AccessDenied("leases are for dom0 only")
        return self._desk.database.revision, self._desk.database.lease(path)
