# SPDX-License-Identifier: GPL-2.0-or-later
"""com.citrix.xenclient.db.transactions at `/`, and the objects of open transactions.  Decides nothing."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from openxt_api.db import DB
from openxt_api.db_transaction import DB_TRANSACTION, DbTransaction
from openxt_api.db_transactions import DB_TRANSACTIONS, DbTransactions
from openxt_bus.export import Face, ObjectTree
from openxt_core.errors import UnknownObject
from openxt_core.spec import Call, MaybeAwaitable, T
from openxt_dbd import path as paths
from openxt_dbd.draft import MAX_CHARACTERS, MAX_CHARACTERS_OF_VM, Draft, drafted
from openxt_dbd.objects import DbObject, Desk
from openxt_dbd.path import Path
from openxt_dbd.recent import Seen
from openxt_dbd.transactions import Transactions


def face(desk: Desk, transactions: Transactions) -> Face:
    return Face(DB_TRANSACTIONS, partial(TransactionsObject, desk, transactions))


def route(tree: ObjectTree, desk: Desk, transactions: Transactions) -> None:
    """Put the open transactions into a tree of objects."""
    tree.route(
        "/transaction/{number}",
        Face(DB, partial(DraftObject, desk, transactions)),
        Face(DB_TRANSACTION, partial(TransactionObject, desk, transactions)),
        exists=lambda key: transactions.is_open(*key),
    )


class TransactionsObject(DbTransactions):
    """One call."""

    def __init__(self, desk: Desk, transactions: Transactions, call: Call) -> None:
        self.call = call
        self._desk = desk
        self._transactions = transactions

    def snapshot(self, path: str) -> MaybeAwaitable[tuple[int, str]]:
        database = self._desk.database
        return self._run(lambda place: (database.revision, database.dump(place)), path)

    def commit(self, unchanged: list[Sequence[Any]], operations: list[Sequence[Any]]) -> MaybeAwaitable[int]:
        return self._run(partial(self._commit, unchanged, operations), "/")

    def _commit(self, unchanged: list[Sequence[Any]], operations: list[Sequence[Any]], place: Path) -> int:
        seen = [Seen(place + paths.parse(path), revision) for path, revision in unchanged]
        wanted = ((word, place + paths.parse(path), value) for word, path, value in operations)
        database = self._desk.database
        return database.commit(drafted(database.root, wanted), seen, self.call.sender)

    def begin(self) -> MaybeAwaitable[str]:
        return self._run(self._begin, "/")

    def _begin(self, place: Path) -> str:
        draft = Draft(self._desk.database.freeze(), MAX_CHARACTERS_OF_VM if place else MAX_CHARACTERS)
        return f"/transaction/{self._transactions.begin(self.call.sender, draft)}"

    def _run(self, operation: Callable[[Path], T], path: str) -> MaybeAwaitable[T]:
        return self._desk.run(self.call.sender, operation, path)


def _draft(transactions: Transactions, call: Call) -> Draft:
    draft = transactions.find(call.key[0], call.sender)
    if draft is None:
        raise UnknownObject(call.path)
    return draft


class DraftObject(DbObject):
    """One call in a transaction."""

    def __init__(self, desk: Desk, transactions: Transactions, call: Call) -> None:
        super().__init__(desk, call)
        self._store = _draft(transactions, call)


class TransactionObject(DbTransaction):
    """The last call of a transaction."""

    def __init__(self, desk: Desk, transactions: Transactions, call: Call) -> None:
        self.call = call
        self._desk = desk
        self._draft = _draft(transactions, call)
        self._end = partial(transactions.end, *call.key)

    def commit(self) -> MaybeAwaitable[int]:
        self._end()
        return self._desk.database.commit(self._draft, writer=self.call.sender)

    def abort(self) -> None:
        self._end()
