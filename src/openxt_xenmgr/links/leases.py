# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of parts of the database that are known to hold, or known not to.

dbd promises to send `lapsed` for a leased part before it answers the change.  The bus delivers in order, so
who was told of a change anywhere, and then asks us, finds that we know of it too.
"""

from collections.abc import Callable
from typing import Protocol

from openxt_bus.connection import Subscription
from openxt_bus.matching import Match, Signal
from openxt_core.ids import DBD_NAME
from openxt_xenmgr.links.dbd import WATCH, DbClient


class Lease:
    """Holds until the part was changed, or dbd was replaced."""

    __slots__ = ("holds",)

    def __init__(self) -> None:
        self.holds = True


class Listener(Protocol):
    """A bus that signals and changes of owners can be heard on."""

    async def subscribe(self, match: Match, callback: Callable[[Signal], None]) -> Subscription: ...

    async def watch_name(self, name: str, callback: Callable[[str, str], None]) -> Subscription: ...


class Leases:
    """By path.  Nothing is held before `follow`."""

    def __init__(self, db: DbClient) -> None:
        self._db = db
        self._held: dict[str, Lease] = {}
        self._is_following = False

    async def follow(self, bus: Listener) -> None:
        """Hear of changes from now on."""
        await bus.watch_name(DBD_NAME, lambda _old, _new: self._lapse_all())
        await bus.subscribe(
            Match(WATCH, "lapsed", sender=DBD_NAME), lambda signal: self._lapse(signal.body[0])
        )
        self._is_following = True

    async def read(self, path: str) -> tuple[str, Lease]:
        """What is at a path, as JSON; its lease may have lapsed already."""
        lease = self._held.get(path)
        if lease is None:
            # Before the question: a change that is told before the answer is read counts as well.
            lease = self._held[path] = Lease()
            lease.holds = self._is_following
        return await self._db.lease_text(path), lease

    def forget(self, path: str) -> None:
        """Nobody looks there any more."""
        self._lapse(path)

    def _lapse(self, path: str) -> None:
        lease = self._held.pop(path, None)
        if lease is not None:
            lease.holds = False

    def _lapse_all(self) -> None:
        for path in tuple(self._held):
            self._lapse(path)
