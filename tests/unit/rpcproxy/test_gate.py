# SPDX-License-Identifier: GPL-2.0-or-later
"""The gate of one conversation: its kept verdicts are those that the rules would give now."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from openxt_core.ids import Domid, Uuid, parse_uuid
from openxt_rpcproxy.gate import MAX_VERDICTS, Gate
from openxt_rpcproxy.rules.decide import PropertyValue, decide
from openxt_rpcproxy.rules.grammar import parse_rule
from openxt_rpcproxy.rules.model import Decision, Direction, Facts, Kind, Source
from openxt_rpcproxy.rules.sources import RuleSources

UUID = parse_uuid("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
SOURCE = Source(Domid(7), UUID)


class Vm:
    """Properties of one VM; `known` has only what was asked for since the last change."""

    def __init__(self) -> None:
        self.changes = 0
        self.properties: dict[str, PropertyValue] = {"flag": False, "type": "svm"}
        self._known: dict[str, PropertyValue] = {}

    def known(self, uuid: Uuid | None) -> Mapping[str, PropertyValue]:
        return self._known

    async def learn(self, uuid: Uuid, name: str) -> None:
        self._known[name] = self.properties.get(name)

    def set(self, name: str, value: PropertyValue) -> None:
        self.properties[name] = value
        self.changes += 1
        self._known.clear()


RULES = (
    "allow path /a/*",
    "deny path /a/b",
    "allow property p",
    "deny arg0 m",
    "allow destination A",
    "deny destination A member m",
    "allow interface I if-boolean flag true",
    "deny interface I dom-type ndvm",
    "allow inc-signal interface J",
    "allow out-any",
    "deny out-signal member n",
    "allow stubdom true",
    "allow dom-uuid " + UUID,
)
NAMES = ("destination", "interface", "member", "sender", "path", "property", "arg0")
names = st.sampled_from(["", "A", "B", "I", "J", "m", "n"])
facts = st.builds(
    lambda direction, kind, about, *values: Facts(
        direction,
        kind,
        SOURCE,
        {name: value for name, value in zip(NAMES, values, strict=True) if value},
        bool(about),
        about,
    ),
    st.sampled_from(Direction),
    st.sampled_from(Kind),
    names,
    *[names] * 4,
    st.sampled_from(["", "/a", "/a/b", "/a/c"]),
    st.sampled_from(["", "p", "q"]),
    names,
)
steps = st.one_of(
    facts,
    facts,
    st.tuples(st.just("add"), st.sampled_from(RULES)),
    st.tuples(st.just("drop"), st.integers(0, 3)),
    st.tuples(st.just("set"), st.sampled_from([("flag", True), ("flag", False), ("type", "ndvm")])),
)


@given(st.lists(steps, max_size=30))
def test_a_kept_verdict_is_the_one_that_the_rules_give_now(some: list[object]) -> None:
    asyncio.run(_compare(some))


async def _compare(some: list[object]) -> None:
    vm, added = Vm(), list[str]()

    async def vm_rules(uuid: Uuid) -> list[str]:
        return []

    with tempfile.NamedTemporaryFile() as file:
        sources = RuleSources(Path(file.name), vm_rules)
        gate = Gate(SOURCE, sources, vm, verbose=False)
        for step in some:
            match step:
                case Facts():
                    rules = [parse_rule(text, "") for text in added]
                    expected = decide(rules, step, vm.properties)
                    assert isinstance(expected, Decision)
                    assert (await gate.ask(step)).verdict is expected.verdict
                case ("add", str(text)):
                    sources.add(text)
                    added.append(text)
                case ("drop", int(at)) if at < len(added):
                    sources.delete(added[at])
                    added = [text for text in added if text != added[at]]
                case ("set", (str(name), value)):
                    vm.set(name, value)


async def test_a_guest_that_makes_up_names_does_not_fill_memory(tmp_path: Path) -> None:
    async def vm_rules(uuid: Uuid) -> list[str]:
        return []

    rules = tmp_path / "rules"
    rules.write_text("allow destination A\n")
    gate = Gate(SOURCE, RuleSources(rules, vm_rules), Vm(), verbose=False)
    for number in range(2 * MAX_VERDICTS + 10):
        await gate.ask(Facts(Direction.INCOMING, Kind.CALL, SOURCE, {"member": f"m{number}"}))
    assert len(gate._verdicts) <= MAX_VERDICTS


async def test_rules_that_change_while_they_are_read_are_read_again(tmp_path: Path) -> None:
    stored = ["allow destination A"]
    rules = tmp_path / "rules"
    rules.write_text("deny all\n")
    question = Facts(Direction.INCOMING, Kind.CALL, SOURCE, {"destination": "A"})

    async def vm_rules(uuid: Uuid) -> list[str]:
        found = list(stored)
        if stored:
            stored.clear()
            sources.forget_vm(UUID)
        return found

    sources = RuleSources(rules, vm_rules)
    gate = Gate(SOURCE, sources, Vm(), verbose=False)
    await gate.ask(question)
    assert (await gate.ask(question)).verdict == "deny"
