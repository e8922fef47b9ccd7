# SPDX-License-Identifier: GPL-2.0-or-later
"""The gate of one conversation: its kept verdicts are those that the rules would give now."""

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_rules import Said
from rule_worlds import marshalled

from openxt_bus.framing import scan
from openxt_core.ids import DOM0, Domid, Uuid, parse_uuid
from openxt_rpcproxy.epoch import Epoch
from openxt_rpcproxy.gate import ALLOW, DENY_DESCRIPTORS, MAX_VERDICTS, Gate
from openxt_rpcproxy.rules.decide import PropertyValue, completed, decide
from openxt_rpcproxy.rules.grammar import parse_rule
from openxt_rpcproxy.rules.model import Decision, Direction, Facts, Kind, Source
from openxt_rpcproxy.rules.sources import RuleSources

UUID = parse_uuid("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
SOURCE = Source(Domid(7), UUID)


class Vm:
    """Properties of one VM; `known` has only what was asked for since the last change."""

    def __init__(self) -> None:
        self.epoch = Epoch()
        self.properties: dict[str, PropertyValue] = {"flag": False, "type": "svm"}
        self._known: dict[str, PropertyValue] = {}

    def known(self, uuid: Uuid | None) -> Mapping[str, PropertyValue]:
        return self._known

    async def learn(self, uuid: Uuid, name: str) -> None:
        self._known[name] = self.properties.get(name)

    def set(self, name: str, value: PropertyValue) -> None:
        self.properties[name] = value
        self.epoch.end()
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


@settings(deadline=None)
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
        vm.epoch = sources.epoch
        for step in some:
            match step:
                case Facts():
                    rules = completed([parse_rule(text, "") for text in added])
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


# Source: OpenXT rpc-proxy, 2015: what is not in a table of rules, since no rule is asked.
VECTORS = """deny all
allow destination A interface I member m
allow stubdom true destination S
allow inc-error
allow inc-signal interface J member n
allow destination A interface K
deny destination A interface K member Set
"""


async def gate_of(folder: Path, source: Source, rules: str = VECTORS) -> Gate:
    async def vm_rules(uuid: Uuid) -> list[str]:
        return []

    path = folder / "rules"
    path.write_text(rules)
    return Gate(source, RuleSources(path, vm_rules), Vm(), verbose=False)


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
async def test_what_dom0_says_passes_both_as_a_client_and_to_one(tmp_path: Path, kind: int) -> None:
    raw = marshalled(Said(kind, fields={"path": "/", "interface": "x.X", "member": "x"}))
    header = scan(raw)
    own = await gate_of(tmp_path, Source(DOM0))
    assert own.decide(raw, header, Direction.INCOMING) == ALLOW
    guest = await gate_of(tmp_path, SOURCE)
    await guest.prepare(raw, header, Direction.OUTGOING)
    found = guest.decide(raw, header, Direction.OUTGOING)
    assert found is not None
    assert found.verdict == "allow"


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ("deny all", "allow"),
        ("deny all\ndeny out-signal interface x.X", "deny"),
        ("deny all\ndeny out-signal interface x.Y", "allow"),
        ("deny all\nallow out-signal interface x.Y", "deny"),
        ("allow nonsense", "deny"),
    ],
)
async def test_rules_about_out_count_as_soon_as_there_are_any(
    tmp_path: Path, rules: str, verdict: str
) -> None:
    gate = await gate_of(tmp_path, SOURCE, rules)
    known = {"interface": "x.X", "member": "x", "path": "/"}
    facts = Facts(Direction.OUTGOING, Kind.SIGNAL, SOURCE, known)
    assert (await gate.ask(facts)).verdict == verdict
    assert (await gate.explain(facts)).decision.verdict == verdict


@pytest.mark.parametrize("source", [SOURCE, Source(DOM0)])
async def test_descriptors_never_pass_not_even_from_dom0(tmp_path: Path, source: Source) -> None:
    raw = marshalled(Said(1, fields={"path": "/", "member": "x"}))
    gate = await gate_of(tmp_path, source, "allow all")
    assert gate.decide(raw, replace(scan(raw), unix_fds=1), Direction.INCOMING) == DENY_DESCRIPTORS
