# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything dbd offers on the bus, put together."""

from openxt_bus.connection import Bus
from openxt_bus.identity import Caller, Identity
from openxt_bus.matching import BUS_NAME, Match, Signal
from openxt_dbd import admin, history_objects, lease_objects, transaction_objects
from openxt_dbd.flusher import Flusher
from openxt_dbd.guests import GuestUuids
from openxt_dbd.names import Names
from openxt_dbd.news import News
from openxt_dbd.objects import Desk
from openxt_dbd.store import Database
from openxt_dbd.transactions import Transactions


async def serve_all(bus: Bus, database: Database, flusher: Flusher, guests: GuestUuids) -> None:
    """Answer calls and tell of changes, from now on."""
    names, transactions = Names(bus), Transactions()
    database.who = names.of
    if database.history is not None:
        database.history.who = names.of
    identity = Identity(bus, guests.of)
    database.is_limited = lambda writer: not _is_dom0(identity.cached(writer))
    desk = Desk(database, identity, names.learn)
    tree = desk.objects(
        lease_objects.face(desk, bus),
        transaction_objects.face(desk, transactions),
        admin.face(desk, flusher),
        *([history_objects.face(desk, database.history, flusher)] if database.history else []),
    )
    transaction_objects.route(tree, desk, transactions)
    bus.serve(tree)
    News(database, bus)

    def connection_changed(signal: Signal) -> None:
        name, _, new_owner = signal.body
        if not new_owner:
            transactions.end_all_of(name)

    await bus.subscribe(Match(BUS_NAME, "NameOwnerChanged", sender=BUS_NAME), connection_changed)


def _is_dom0(caller: Caller | None) -> bool:
    """Somebody unknown is not."""
    return caller is not None and caller.is_dom0
