# SPDX-License-Identifier: GPL-2.0-or-later
"""A call that came before is answered as if it were the first: same results, same errors, same refusals."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from keepers import KEEPERS, keeper
from openxt_bus.connection import Bus
from openxt_bus.export import Face, ObjectTree
from openxt_bus.known_calls import MAX_KNOWN
from openxt_core.errors import RemoteError, VmBadState
from openxt_core.spec import Arg, Call, Interface, Method, Service

NAME = "a.lamp"
LAMP = Interface(
    NAME,
    methods=(
        Method("echo", (Arg("one", "s"), Arg("two", "s"), Arg("three", "s")), (Arg("all", "s"),)),
        Method("both", (Arg("one", "s"), Arg("two", "s")), (Arg("all", "s"),)),
        Method("pair", (Arg("one", "s"),), (Arg("text", "s"), Arg("size", "i"))),
        Method("later", (Arg("one", "s"),), (Arg("one", "s"),)),
        Method("fail", (Arg("one", "s"),)),
        Method("wrong", (), (Arg("one", "s"),)),
        Method("nothing"),
        Method("bytes", (Arg("one", "s"),), (Arg("data", "ay"),)),
        Method("who", (), (Arg("sender", "s"),)),
    ),
)


@dataclass
class Lamp(Service):
    SPEC = LAMP
    made: list[Call] = field(default_factory=list)

    def echo(self, one: str, two: str, three: str) -> str:
        return "|".join((one, two, three))

    def both(self, one: str, two: str) -> str:
        return f"{one}|{two}"

    def pair(self, one: str) -> tuple[str, int]:
        return one, len(one)

    async def later(self, one: str) -> str:
        await asyncio.sleep(0)
        return one

    def fail(self, one: str) -> None:
        raise VmBadState(one)

    def wrong(self) -> Any:
        return 5

    def nothing(self) -> None:
        return None

    def bytes(self, one: str) -> bytes:
        return one.encode()

    def who(self) -> str:
        return self.call.sender


@dataclass
class Pair:
    server: Bus
    tree: ObjectTree
    client: Bus
    there: set[str]

    async def ask(self, member: str, *texts: str, path: str = "/lamp/1") -> Any:
        signature = "s" * len(texts)
        return list(await self.client.call(self.server.unique_name, path, NAME, member, signature, texts))


@pytest.fixture(params=KEEPERS, autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    module = keeper(request.param)
    monkeypatch.setattr("openxt_bus.known_calls.Plan", module.Plan)
    monkeypatch.setattr("openxt_bus.wire.answer_all", module.answer_all)
    monkeypatch.setattr("openxt_bus.wire.Receiver", module.Receiver)


@pytest.fixture
async def pair(bus_address: str) -> AsyncIterator[Pair]:
    server, client, there = await Bus.connect(bus_address), await Bus.connect(bus_address), {"1"}
    tree = ObjectTree()
    tree.route("/lamp/{lamp}", Face(LAMP, Lamp), exists=lambda key: key[0] in there)
    server.serve(tree)
    yield Pair(server, tree, client, there)
    server.close()
    client.close()


TEXTS = ("", "a", "ab", "abc", "abcd", "ü" * 5, "x" * 70_000)


@pytest.mark.parametrize("text", TEXTS)
async def test_texts_of_any_length_arrive_whole(pair: Pair, text: str) -> None:
    for _ in range(3):
        assert await pair.ask("echo", text, "middle", text) == [f"{text}|middle|{text}"]
        assert await pair.ask("both", text, "") == [f"{text}|"]
        assert await pair.ask("both", "", text) == [f"|{text}"]
        assert await pair.ask("pair", text) == [text, len(text)]
        assert await pair.ask("later", text) == [text]
        assert await pair.ask("bytes", text) == [text.encode()]
        assert await pair.ask("nothing") == []


async def test_errors_are_the_same_each_time(pair: Pair) -> None:
    for _ in range(3):
        with pytest.raises(RemoteError, match="102:sleepy") as caught:
            await pair.ask("fail", "sleepy")
        assert caught.value.name.endswith(".Failed")
        with pytest.raises(RemoteError, match="internal error"):
            await pair.ask("wrong")
        with pytest.raises(RemoteError) as caught:
            await pair.ask("pair")
        assert caught.value.name.endswith(".InvalidArgs")


async def test_an_object_that_is_gone_is_gone_for_those_who_called_it(pair: Pair) -> None:
    assert await pair.ask("nothing") == []
    pair.there.clear()
    with pytest.raises(RemoteError) as caught:
        await pair.ask("nothing")
    assert caught.value.name.endswith(".UnknownObject")
    pair.there.add("1")
    assert await pair.ask("nothing") == []


async def test_another_face_at_the_path_answers_from_then_on(pair: Pair) -> None:
    @dataclass
    class Other(Lamp):
        def who(self) -> str:
            return "the other"

    assert await pair.ask("who") == [pair.client.unique_name]
    pair.tree.route("/lamp/{lamp}", Face(LAMP, Other))
    assert await pair.ask("who") == ["the other"]
    tree = ObjectTree()
    tree.route("/lamp/1", Face(LAMP, Lamp))
    pair.server.serve(tree)
    assert await pair.ask("who") == [pair.client.unique_name]


async def test_one_object_serves_the_calls_of_each_caller_where_a_face_is_reusable(
    pair: Pair, bus_address: str
) -> None:
    made: list[Call] = []

    def make(call: Call) -> Lamp:
        made.append(call)
        return Lamp(call)

    pair.tree.route(
        "/lamp/{lamp}", Face(LAMP, make, is_reusable=True), exists=lambda key: key[0] in pair.there
    )
    other = await Bus.connect(bus_address)
    for text in ("one", "two", "three"):
        assert await pair.ask("pair", text) == [text, len(text)]
        assert await pair.ask("later", text) == [text]
        with pytest.raises(RemoteError, match=f"102:{text}"):
            await pair.ask("fail", text)
        for bus in (pair.client, other):
            assert await bus.call(pair.server.unique_name, "/lamp/1", NAME, "who") == [bus.unique_name]
    of_each = {(call.sender, call.member): made.count(call) for call in made}
    assert len(of_each) == 5
    assert max(of_each.values()) == 2  # the first call, and what is kept for all later ones
    pair.there.clear()
    with pytest.raises(RemoteError, match="/lamp/1"):
        await pair.ask("pair", "one")
    other.close()


async def test_each_caller_is_itself(pair: Pair, bus_address: str) -> None:
    other = await Bus.connect(bus_address)
    for bus in (pair.client, other, pair.client, other):
        reply = await bus.call(pair.server.unique_name, "/lamp/1", NAME, "who")
        assert list(reply) == [bus.unique_name]
    other.close()


async def test_paths_beyond_count_do_no_harm(pair: Pair) -> None:
    pair.there.update(map(str, range(MAX_KNOWN + 10)))
    for start in range(0, MAX_KNOWN + 10, 64):
        some = range(start, min(start + 64, MAX_KNOWN + 10))
        await asyncio.gather(*(pair.ask("nothing", path=f"/lamp/{number}") for number in some))
    assert len(pair.server._known.plans) <= MAX_KNOWN
    assert await pair.ask("who") == [pair.client.unique_name]
