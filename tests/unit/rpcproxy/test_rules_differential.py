# SPDX-License-Identifier: GPL-2.0-or-later
"""What passes of a stream of bytes against a naive evaluator: judged, known by its bytes, and explained."""

import asyncio
import logging
import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive_rules import Domain, Said, verdict
from rule_worlds import (
    domains,
    marshalled,
    messages,
    random_domain,
    random_messages,
    random_rule,
    rule_lists,
    source_of,
)

from effort import effort
from openxt_bus.codec import Message, encode
from openxt_bus.framing import Header, cut, scan
from openxt_core.ids import Uuid
from openxt_rpcproxy.facts import facts_of
from openxt_rpcproxy.gate import Gate
from openxt_rpcproxy.lane import Lane
from openxt_rpcproxy.passage import OUR_SERIAL, Passage, Rewriting
from openxt_rpcproxy.rules.decide import PropertyValue
from openxt_rpcproxy.rules.model import Direction
from openxt_rpcproxy.rules.sources import RuleSources

RULE_SETS = effort(300, 20_000)
MESSAGES_EACH = 10  # so 200,000 pairs in all
SEED = 20_261_122


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """A line for each denial would fill the memory of the test."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


class Vm:
    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._known: dict[str, PropertyValue] = {}

    def known(self, uuid: Uuid | None) -> Mapping[str, PropertyValue]:
        return self._known

    async def learn(self, uuid: Uuid, name: str) -> None:
        value = self._domain.properties.get(name)
        self._known[name] = value if isinstance(value, str | bool) else None


def is_ours(header: Header) -> bool:
    """An error that the proxy tells instead of an answer that the rules deny."""
    return header.serial == OUR_SERIAL and header.error_name.endswith(".AccessDenied")


class World:
    """A conversation whose client is greeted already, and then other rules are put in force."""

    def __init__(self, folder: Path, rules: list[str], domain: Domain) -> None:
        self.path = folder / "rules"
        self.path.write_text("allow all\nallow stubdom true\nallow out-any")
        self.sources = RuleSources(self.path, no_vm_rules)
        self.source = source_of(domain)
        self.gate = Gate(self.source, self.sources, Vm(domain), verbose=False)
        self.passage = Passage(self.source, self.gate, Rewriting(), lambda name: None)
        self.passed: set[int] = set()
        self.lanes = {
            "inc": Lane(self.passage.incoming(), self, self._back, 2**20),
            "out": Lane(self.passage.outgoing(), self, self._back, 2**20),
        }
        self._rules = rules

    def send(self, data: bytes, /) -> None:
        headers = [scan(one) for one in cut(bytearray(data), 2**20)]
        self.passed |= {header.serial for header in headers if not is_ours(header)}

    def _back(self, data: bytes) -> None:
        """Answers of the proxy's own; `cut` refuses what is no message."""
        assert list(cut(bytearray(data), 2**20))

    async def begin(self) -> None:
        await self.feed("inc", encode(Message(1, 1, {1: "/", 3: "Hello", 6: "org.freedesktop.DBus"})))
        await self.feed("out", encode(Message(2, 2, {5: 1, 6: ":1.7", 8: "s"}, (":1.7",))))
        self.path.write_text("\n".join(self._rules))
        self.sources.reload()
        self.passed.clear()

    async def feed(self, direction: str, data: bytes) -> None:
        lane = self.lanes[direction]
        lane.feed(data)
        while lane.is_held or lane.is_tired:
            if lane.is_held:
                await self.passage.prepare(lane.waiting, Direction(direction))
            lane.go_on()

    async def send_all(self, some: list[Said], order: str, first: int) -> set[int]:
        """In one piece for each direction; the serials of those that went on, counted from `first`."""
        self.passed.clear()
        streams = {"inc": b"", "out": b""}
        for serial, said in enumerate(some, start=first):
            streams[said.direction] += marshalled(said, order, serial, serial)
            if said.type in (2, 3):  # an answer passes to an open call only
                side = self.passage.outgoing() if said.direction == "inc" else self.passage.incoming()
                side.asked.may_ask(said.fields.get("destination", ""), serial)
        for direction, stream in streams.items():
            await self.feed(direction, stream)
        return {serial - first for serial in self.passed}


async def no_vm_rules(uuid: Uuid) -> list[str]:
    return []


async def compare(folder: Path, rules: list[str], domain: Domain, some: list[Said], order: str) -> None:
    """First judged, then known by their bytes, and explained."""
    world = World(folder, rules, domain)
    await world.begin()
    expected = {at for at, said in enumerate(some) if verdict(rules, said, domain) == "allow"}
    for turn in (1, 2, 3):
        found = await world.send_all(some, order, turn * 1000)
        assert found == expected, (rules, domain, [some[at] for at in found ^ expected], order, turn)
    for at, said in enumerate(some):
        raw = marshalled(said, order)
        facts = facts_of(raw, scan(raw), Direction(said.direction), world.source)
        allowed = (await world.gate.explain(facts)).decision.verdict == "allow"
        assert allowed == (at in expected), (rules, domain, said)


@settings(max_examples=effort(60, 2000), deadline=None, suppress_health_check=list(HealthCheck))
@given(rule_lists, domains, st.lists(messages, max_size=8), st.sampled_from("<>"))
def test_what_passes_is_what_a_naive_reading_of_the_rules_lets_pass(
    rules: list[str], domain: Domain, some: list[Said], order: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder), rules, domain, some, order))


@pytest.mark.proof
@pytest.mark.timeout(3600)
async def test_it_is_for_very_many_rule_sets_and_messages(tmp_path: Path) -> None:
    """Plain random ones: as many as this, hypothesis would take hours for."""
    rng = random.Random(SEED)
    allowed = 0
    for _ in range(RULE_SETS):
        rules = [random_rule(rng) for _ in range(rng.randrange(9))]
        domain = random_domain(rng)
        some = random_messages(rng, MESSAGES_EACH)
        await compare(tmp_path, rules, domain, some, rng.choice("<>"))
        allowed += sum(verdict(rules, said, domain) == "allow" for said in some)
    assert 0.1 < allowed / (RULE_SETS * MESSAGES_EACH) < 0.9  # both answers are common


@settings(max_examples=effort(50, 1000), deadline=None)
@given(rule_lists, st.lists(rule_lists, min_size=1, max_size=3), domains, st.lists(messages, max_size=6))
def test_rules_of_the_vm_and_of_run_time_come_last(
    file_rules: list[str], own: list[list[str]], domain: Domain, some: list[Said]
) -> None:
    asyncio.run(_compare_own(file_rules, own[0], domain, some))


async def _compare_own(file_rules: list[str], own: list[str], domain: Domain, some: list[Said]) -> None:
    async def vm_rules(uuid: Uuid) -> list[str]:
        return own

    with tempfile.NamedTemporaryFile("w") as file:
        file.write("\n".join(file_rules))
        file.flush()
        sources = RuleSources(Path(file.name), vm_rules)
        gate = Gate(source_of(domain), sources, Vm(domain), verbose=False)
        bound = [f"{rule.removesuffix(' all')} dom-uuid {domain.uuid}" for rule in own] if domain.uuid else []
        for said in some:
            raw = marshalled(said)
            header, direction = scan(raw), Direction(said.direction)
            while (answer := gate.decide(raw, header, direction)) is None:
                await gate.prepare(raw, header, direction)
            assert answer.verdict == verdict(file_rules + bound, said, domain)
