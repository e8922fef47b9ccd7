# SPDX-License-Identifier: GPL-2.0-or-later
"""The face on the bus, without a bus: who calls, in which order, and what is answered."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from openxt_api.db import DB
from openxt_bus.export import ObjectTree
from openxt_bus.identity import Caller
from openxt_core.errors import AccessDenied, BadRequest, UnknownObject
from openxt_core.ids import DOM0, DOM0_UUID, Domid, Uuid
from openxt_core.spec import Call
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.journal import Journal
from openxt_dbd.objects import DbObject, Desk
from openxt_dbd.store import Database

UUID = Uuid("00000000-0000-0000-0000-000000000007")
DOMAINS = {":dom0": Caller(DOM0, DOM0_UUID), ":guest": Caller(Domid(7), UUID)}


class Callers:
    """Knows `:dom0` at once, and every other sender when `answer` is set."""

    def __init__(self) -> None:
        self.known = {":dom0": DOMAINS[":dom0"]}
        self.answer = asyncio.Event()

    def cached(self, sender: str) -> Caller | None:
        return self.known.get(sender)

    async def of(self, sender: str) -> Caller:
        await self.answer.wait()
        if sender not in DOMAINS:
            raise AccessDenied(f"the domain of {sender} is not known")
        self.known[sender] = DOMAINS[sender]
        return DOMAINS[sender]


@dataclass
class Request:
    sender: str
    member: str
    signature: str
    path: str = "/"
    interface: str = DB.name


@dataclass
class House:
    database: Database
    callers: Callers
    tree: ObjectTree

    def call(self, sender: str, member: str, *body: str, path: str = "/") -> Any:
        request = Request(sender, member, DB.method[member].in_signature, path)
        answer = self.tree.handle(request, body)
        return answer if isinstance(answer, Awaitable) else _value(answer)

    async def ask(self, sender: str, member: str, *body: str) -> Any:
        return _value(await self.call(sender, member, *body))


def _value(answer: tuple[str, Sequence[Any]]) -> Any:
    return answer[1][0] if answer[1] else None


@pytest.fixture
async def house(tmp_path: Path) -> House:
    database = Database(Files(Disk(tmp_path)), Journal(Disk(tmp_path)))
    database.load()
    callers = Callers()
    return House(database, callers, Desk(database, callers).objects())


async def test_a_known_caller_is_answered_at_once(house: House) -> None:
    house.call(":dom0", "write", "/a/b", "1")
    house.call(":dom0", "inject", "/n", '{"k": 5}')
    assert house.call(":dom0", "read", "a//b/") == "1"
    assert house.call(":dom0", "list", "/") == ["a", "n"]
    assert house.call(":dom0", "dump", "/n") == '{\n  "k": 5\n}\n'
    house.call(":dom0", "rm", "/a")
    assert house.call(":dom0", "exists", "/a") is False


async def test_another_domain_sees_its_own_place_only(house: House) -> None:
    house.callers.answer.set()
    house.call(":dom0", "write", "/secret", "1")
    await house.ask(":guest", "write", "/x", "1")
    assert house.call(":dom0", "read", f"/dom-store/{UUID}/x") == "1"
    assert await _maybe(house.call(":guest", "read", "/secret")) == ""
    assert await _maybe(house.call(":guest", "list", "/")) == ["x"]
    assert await _maybe(house.call(":guest", "list", "/../..")) == []


async def _maybe(answer: Any) -> Any:
    return _value(await answer) if isinstance(answer, Awaitable) else answer


async def test_calls_of_a_sender_take_effect_in_their_order_while_it_is_being_found_out(house: House) -> None:
    writes = [asyncio.ensure_future(house.call(":guest", "write", "/k", str(n))) for n in range(20)]
    await asyncio.sleep(0)
    house.callers.answer.set()
    await asyncio.sleep(0)
    writes += [asyncio.ensure_future(_as_awaitable(house.call(":guest", "write", "/k", "last")))]
    await asyncio.gather(*writes)
    assert house.database.read(("dom-store", UUID, "k")) == "last"


async def test_an_object_that_is_used_again_keeps_to_its_senders_place_and_turn(house: House) -> None:
    desk = Desk(house.database, house.callers)
    guest = DbObject(desk, Call(":guest", "/", DB.name, "write"))
    house.callers.answer.set()
    await _as_awaitable(guest.write("/k", "1"))
    await _as_awaitable(guest.write("/k", "2"))
    del house.callers.known[":guest"]  # among too many others
    turns = [asyncio.ensure_future(_as_awaitable(DbObject(desk, guest.call).write("/k", "3")))]
    await asyncio.sleep(0)
    turns.append(asyncio.ensure_future(_as_awaitable(guest.write("/k", "4"))))
    await asyncio.gather(*turns)
    assert (
        house.database.dump(())
        == f'{{\n  "dom-store": {{\n    "{UUID}": {{\n      "k": "4"\n    }}\n  }}\n}}\n'
    )


async def _as_awaitable(answer: Any) -> Any:
    return await answer if isinstance(answer, Awaitable) else answer


async def test_others_are_served_while_a_sender_is_being_found_out(house: House) -> None:
    waiting = asyncio.ensure_future(house.call(":guest", "write", "/k", "1"))
    await asyncio.sleep(0)
    assert await _maybe(house.call(":dom0", "exists", "/")) is True
    assert not waiting.done()
    house.callers.answer.set()
    await waiting


async def test_a_sender_that_cannot_be_found_out_is_refused_again_and_again(house: House) -> None:
    house.callers.answer.set()
    for _ in range(2):
        with pytest.raises(AccessDenied):
            await house.ask(":nobody", "read", "/")
    assert house.database.dump(()) == "{ }\n"


async def test_a_refusal_of_one_call_does_not_keep_the_next_waiting(house: House) -> None:
    house.callers.answer.set()
    with pytest.raises(BadRequest):
        await house.ask(":guest", "inject", "/k", "{")
    assert await _maybe(house.call(":guest", "exists", "/k")) is False


async def test_a_binary_node_is_read_from_its_file(house: House, tmp_path: Path) -> None:
    (tmp_path / "vms").mkdir()
    (tmp_path / "vms" / "icon").write_bytes(b"\x00PNG")
    house.database.load()
    assert _value(await house.call(":dom0", "read_binary", "/vm/icon")) == b"\x00PNG"
    with pytest.raises(BadRequest, match=r"^not a binary node$"):
        await house.ask(":dom0", "read_binary", "/vm")
    (tmp_path / "vms" / "icon").unlink()
    with pytest.raises(Exception, match="exception occured"):
        await house.ask(":dom0", "read_binary", "/vm/icon")


async def test_only_the_root_object_answers(house: House) -> None:
    with pytest.raises(UnknownObject):
        house.call(":dom0", "read", "/a", path="/vm")


async def test_values_are_not_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        house.tree = Desk(house.database, house.callers).objects()
        house.call(":dom0", "write", "/password", "secret-value")
    assert "/password" in caplog.text
    assert "secret-value" not in caplog.text
