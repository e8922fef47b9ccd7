# SPDX-License-Identifier: GPL-2.0-or-later
"""com.citrix.xenclient.db at `/`: who calls → where in the tree → the operation.  Decides nothing.

The calls of one sender take effect in the order in which they came.  While a new sender's domain is being
found out its calls wait in a row; those of a known sender are answered at once, without a task.
"""

import asyncio
import builtins
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from openxt_api.db import DB, Db
from openxt_bus.export import Face, ObjectTree
from openxt_bus.identity import Caller
from openxt_core.spec import Call, MaybeAwaitable
from openxt_dbd import path as paths
from openxt_dbd.draft import Draft
from openxt_dbd.files import read_binary
from openxt_dbd.path import Path
from openxt_dbd.store import Database
from openxt_dbd.view import place_of

T = TypeVar("T")

log = logging.getLogger(__name__)


class Callers(Protocol):
    """Who knows the domain behind a sender (`openxt_bus.identity.Identity`)."""

    def cached(self, sender: str) -> Caller | None: ...

    async def of(self, sender: str) -> Caller: ...


Greet: TypeAlias = Callable[[str, Caller], Awaitable[None]]
"""Done once with each new sender, before its first call."""


class Desk:
    """What all calls share: the database, who calls, and whose calls wait."""

    def __init__(self, database: Database, callers: Callers, greet: Greet | None = None) -> None:
        self.database = database
        self.cached = callers.cached
        self.waiting: dict[str, asyncio.Future[None]] = {}
        self._callers = callers
        self._greet = greet

    def objects(self, *beside: Face) -> ObjectTree:
        """The database at `/`, and other faces beside it."""
        tree = ObjectTree()
        face = LoggedDbObject if log.isEnabledFor(logging.DEBUG) else DbObject
        tree.route("/", Face(DB, partial(face, self), is_reusable=True), *beside)
        return tree

    def run(
        self, sender: str, operation: Callable[..., MaybeAwaitable[T]], path: str, *values: Any
    ) -> MaybeAwaitable[T]:
        """Carry out an operation on a path as the sender means it."""
        caller = self.cached(sender)
        steps = paths.parse(path)
        if caller is None or sender in self.waiting:
            return self.in_turn(sender, operation, steps, values)
        return operation(place_of(caller) + steps, *values)

    async def in_turn(
        self, sender: str, operation: Callable[..., MaybeAwaitable[T]], steps: Path, values: tuple[Any, ...]
    ) -> T:
        """Find out who the sender is and run its call behind its earlier ones."""
        before, mine = self.waiting.get(sender), asyncio.get_running_loop().create_future()
        self.waiting[sender] = mine
        try:
            if before is not None:
                await before
            result = operation(place_of(await self._find_out(sender)) + steps, *values)
            return await result if isinstance(result, Awaitable) else result
        finally:
            mine.set_result(None)
            if self.waiting[sender] is mine:
                del self.waiting[sender]

    async def _find_out(self, sender: str) -> Caller:
        is_new = self.cached(sender) is None
        caller = await self._callers.of(sender)
        if is_new and self._greet is not None:
            await self._greet(sender, caller)
        return caller


class DbObject(Db):
    """One call, or one after the other of one sender."""

    def __init__(self, desk: Desk, call: Call) -> None:
        self.call = call
        self._desk = desk
        self._store: Database | Draft = desk.database
        self._place: Path | None = None
        self._is_dom0 = False
        """What is known once the sender is: it stays so for as long as there is that sender."""
        self._waiting = desk.waiting
        self._read_at, self._write_at = desk.database.read_at, desk.database.write_at

    # The two operations of every day are carried out without a detour once the sender is known to be dom0.

    def read(self, path: str) -> MaybeAwaitable[str]:
        if self._is_dom0 and not self._waiting:
            return self._read_at(path)
        return self._run(self._store.read, path)

    def read_binary(self, path: str) -> MaybeAwaitable[bytes]:
        return self._run(self._read_binary, path)

    def write(self, path: str, value: str) -> MaybeAwaitable[None]:
        if self._is_dom0 and not self._waiting:
            return self._write_at(path, value, self.call.sender)
        return self._run(self._store.write, path, value, self.call.sender)

    def dump(self, path: str) -> MaybeAwaitable[str]:
        return self._run(self._store.dump, path)

    def inject(self, path: str, value: str) -> MaybeAwaitable[None]:
        return self._run(self._store.inject, path, value, self.call.sender)

    def list(self, path: str) -> MaybeAwaitable[builtins.list[str]]:
        return self._run(self._store.names, path)

    def rm(self, path: str) -> MaybeAwaitable[None]:
        return self._run(self._store.rm, path, self.call.sender)

    def exists(self, path: str) -> MaybeAwaitable[bool]:
        return self._run(self._store.exists, path)

    def _run(self, operation: Callable[..., MaybeAwaitable[T]], path: str, *values: str) -> MaybeAwaitable[T]:
        if self._place is None or self._waiting:
            return self._find_place(operation, paths.parse(path), values)
        return operation(self._place + paths.parse(path), *values)

    def _find_place(
        self, operation: Callable[..., MaybeAwaitable[T]], steps: Path, values: tuple[str, ...]
    ) -> MaybeAwaitable[T]:
        desk, sender = self._desk, self.call.sender
        caller = desk.cached(sender)
        if caller is None or sender in self._waiting:
            return desk.in_turn(sender, operation, steps, values)
        self._is_dom0 = caller.is_dom0 and self._store is desk.database
        self._place = place_of(caller)
        return operation(self._place + steps, *values)

    async def _read_binary(self, path: Path) -> bytes:
        return await asyncio.to_thread(read_binary, self._store.binary(path))


class LoggedDbObject(DbObject):
    """Writes down each call, but never a value: it may be a secret."""

    def _run(self, operation: Callable[..., MaybeAwaitable[T]], path: str, *values: str) -> MaybeAwaitable[T]:
        size = sum(map(len, values[:1]))
        log.debug("%s %r by %s, %d characters", self.call.member, path, self.call.sender, size)
        result = super()._run(operation, path, *values)
        self._place, self._is_dom0 = None, False  # the next one, too, shall come this way
        return result
