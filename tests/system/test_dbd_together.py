# SPDX-License-Identifier: GPL-2.0-or-later
"""Several callers of one dbd: transactions, and who hears of what."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from houses import House, house

from openxt_api.db import DbClient
from openxt_api.db_admin import DbAdminClient
from openxt_api.db_transaction import DbTransactionClient
from openxt_api.db_transactions import DbTransactionsClient
from openxt_bus.connection import Bus
from openxt_bus.matching import Match, Signal
from openxt_core.errors import Conflict, RemoteError
from openxt_core.ids import DBD_NAME

TIMEOUT_S = 30.0
WATCH = "com.citrix.xenclient.db.watch"


@pytest.fixture
async def here() -> AsyncIterator[House]:
    async with house({"dbus-daemon", "openxt-sim", "dbd"}) as here:
        yield here


async def test_a_batch_happens_as_one_and_only_on_what_its_caller_saw(here: House) -> None:
    db, together = DbClient(here.bus, DBD_NAME), DbTransactionsClient(here.bus, DBD_NAME)
    await db.write("/vm/x/name", "one")
    seen, value = await together.snapshot("/vm/x")
    assert json.loads(value) == {"name": "one"}
    await db.write("/vm/y/name", "elsewhere")
    made = await together.commit([("/vm/x", seen)], [("write", "/vm/x/name", "two"), ("rm", "/vm/y", "")])
    assert made > seen
    assert (await db.read("/vm/x/name"), await db.exists("/vm/y")) == ("two", False)
    with pytest.raises(RemoteError, match="/vm/x was changed") as caught:
        await together.commit([("/vm/x", seen)], [("write", "/vm/x/name", "three")])
    assert caught.value.name == Conflict.dbus_name
    assert await db.read("/vm/x/name") == "two"


async def test_a_batch_with_one_bad_operation_does_nothing(here: House) -> None:
    db, together = DbClient(here.bus, DBD_NAME), DbTransactionsClient(here.bus, DBD_NAME)
    with pytest.raises(RemoteError):
        await together.commit([], [("write", "/a", "1"), ("inject", "/b", "{")])
    assert await db.exists("/a") is False


async def _commits(together: DbTransactionsClient, seen: int, new: str) -> bool:
    try:
        await together.commit([("/counter", seen)], [("write", "/counter", new)])
    except RemoteError as error:
        if error.name == Conflict.dbus_name:
            return False
        raise
    return True


async def test_two_clients_that_count_together_lose_nothing(here: House) -> None:
    """Each reads, adds one and commits; whoever comes second tries again."""

    async def count() -> int:
        bus = await Bus.connect(here.layout.bus_address)
        together, conflicts = DbTransactionsClient(bus, DBD_NAME), 0
        for _ in range(100):
            while True:
                seen, value = await together.snapshot("/counter")
                new = str(int(json.loads(value) or "0") + 1)
                if await _commits(together, seen, new):
                    break
                conflicts += 1
        bus.close()
        return conflicts

    conflicts = await asyncio.gather(count(), count())
    assert await DbClient(here.bus, DBD_NAME).read("/counter") == "200"
    assert sum(conflicts) > 0


async def test_an_open_transaction_shows_one_state_and_fails_if_it_read_what_has_changed(here: House) -> None:
    db, together = DbClient(here.bus, DBD_NAME), DbTransactionsClient(here.bus, DBD_NAME)
    await db.write("/a", "1")
    path = await together.begin()
    inside, end = DbClient(here.bus, DBD_NAME, path), DbTransactionClient(here.bus, DBD_NAME, path)
    await inside.write("/b", "mine")
    assert (await inside.read("/b"), await db.exists("/b")) == ("mine", False)
    assert await inside.read("/a") == "1"
    await db.write("/a", "2")
    assert await inside.read("/a") == "1"
    with pytest.raises(RemoteError, match="/a was changed since it was read"):
        await end.commit()
    assert await db.exists("/b") is False
    with pytest.raises(RemoteError) as caught:
        await inside.read("/a")
    assert caught.value.name == "org.freedesktop.DBus.Error.UnknownObject"


async def test_an_open_transaction_does_not_mind_changes_elsewhere(here: House) -> None:
    db, together = DbClient(here.bus, DBD_NAME), DbTransactionsClient(here.bus, DBD_NAME)
    path = await together.begin()
    inside = DbClient(here.bus, DBD_NAME, path)
    assert await inside.read("/a") == ""
    await inside.write("/b", "1")
    await db.write("/c", "1")
    await DbTransactionClient(here.bus, DBD_NAME, path).commit()
    assert json.loads(await db.dump("/")) | {"b": "1", "c": "1"} == json.loads(await db.dump("/"))


async def test_a_transaction_is_its_owner_s_alone_and_there_are_not_too_many(here: House) -> None:
    bus = await Bus.connect(here.layout.bus_address)
    together = DbTransactionsClient(bus, DBD_NAME)
    paths = [await together.begin() for _ in range(8)]
    with pytest.raises(RemoteError, match="at most 8 open transactions"):
        await together.begin()
    with pytest.raises(RemoteError) as caught:
        await DbTransactionClient(here.bus, DBD_NAME, paths[0]).commit()
    assert caught.value.name == "org.freedesktop.DBus.Error.UnknownObject"
    await DbTransactionClient(bus, DBD_NAME, paths[0]).abort()
    await together.begin()
    bus.close()


async def test_a_listener_hears_of_its_part_from_the_bus_s_own_match_rules(here: House) -> None:
    db = DbClient(here.bus, DBD_NAME)
    heard: asyncio.Queue[Signal] = asyncio.Queue()
    listener = await Bus.connect(here.layout.bus_address)
    await listener.subscribe(Match(WATCH, arg0path="/vm/x/"), heard.put_nowait)
    await db.write("/vm/y/name", "elsewhere")
    await db.write("/vm/x/name", "here")
    first = await _next(heard)
    assert (first.path, first.body[0], first.body[2]) == ("/", "/vm/x/", here.bus.unique_name)
    await db.write("/vm/x/name", "again")
    second = await _next(heard)
    assert second.body[0] == "/vm/x/name"
    assert second.body[1] > first.body[1]
    await db.rm("/vm")
    assert (await _next(heard)).body[0] == "/vm/x/"
    listener.close()


async def _next(heard: asyncio.Queue[Signal]) -> Signal:
    async with asyncio.timeout(TIMEOUT_S):
        return await heard.get()


async def test_a_storm_of_changes_is_told_in_few_words_and_none_goes_untold(here: House) -> None:
    db = DbClient(here.bus, DBD_NAME)
    heard: list[Signal] = []
    listener = await Bus.connect(here.layout.bus_address)
    await listener.subscribe(Match(WATCH, arg0path="/vm/"), heard.append)
    for round_ in range(20):
        await asyncio.gather(*(db.write(f"/vm/{vm}/key", str(round_)) for vm in range(50)))
    last = (await DbAdminClient(here.bus, DBD_NAME).status())[0]
    async with asyncio.timeout(TIMEOUT_S):
        while not heard or heard[-1].body[1] < last:
            await listener.name_owner(DBD_NAME)
    assert len(heard) < 1000
    listener.close()


async def test_sync_returns_when_the_files_are_written(here: House) -> None:
    db, admin = DbClient(here.bus, DBD_NAME), DbAdminClient(here.bus, DBD_NAME)
    await db.write("/vm/x/name", "kept")
    _, dirty, failure = await admin.status()
    assert (dirty, failure) == (["vms/x.db"], "")
    await admin.sync()
    assert (here.layout.root / "config/vms/x.db").read_text() == '{\n  "name": "kept"\n}\n'
    assert (await admin.status())[1] == []
