# SPDX-License-Identifier: GPL-2.0-or-later
"""The gate, from a message's bytes, against a naive evaluator: first asked, asked again, and explained."""

import asyncio
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive_rules import Domain, Said, verdict
from rule_worlds import domains, marshalled, messages, rule_lists, source_of

from effort import effort
from openxt_bus.framing import scan
from openxt_core.ids import Uuid
from openxt_rpcproxy.facts import facts_of
from openxt_rpcproxy.gate import Gate
from openxt_rpcproxy.rules.decide import PropertyValue
from openxt_rpcproxy.rules.model import Decision, Direction
from openxt_rpcproxy.rules.sources import RuleSources

EXAMPLES = effort(600, 40_000)
MESSAGES_EACH = 5  # so 200,000 pairs in all


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """A line for each denial would fill the memory of the test."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


class Vm:
    changes = 0

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._known: dict[str, PropertyValue] = {}

    def known(self, uuid: Uuid | None) -> Mapping[str, PropertyValue]:
        return self._known

    async def learn(self, uuid: Uuid, name: str) -> None:
        value = self._domain.properties.get(name)
        self._known[name] = value if isinstance(value, str | bool) else None


async def decided(gate: Gate, raw: bytes, direction: Direction) -> Decision:
    header = scan(raw)
    while (answer := gate.decide(raw, header, direction)) is None:
        await gate.prepare(raw, header, direction)
    return answer


@pytest.mark.proof
@pytest.mark.timeout(3600)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rule_lists,
    domains,
    st.lists(messages, min_size=MESSAGES_EACH, max_size=MESSAGES_EACH),
    st.sampled_from("<>"),
)
def test_the_gate_says_what_a_naive_reading_of_the_rules_says(
    rules: list[str], domain: Domain, some: list[Said], order: str
) -> None:
    asyncio.run(_compare(rules, domain, some, order))


async def _compare(rules: list[str], domain: Domain, some: list[Said], order: str) -> None:
    async def vm_rules(uuid: Uuid) -> list[str]:
        return []

    with tempfile.NamedTemporaryFile("w") as file:
        file.write("\n".join(rules))
        file.flush()
        source = source_of(domain)
        gate = Gate(source, RuleSources(Path(file.name), vm_rules), Vm(domain), verbose=False)
        for said in some + some:  # the second time from what was kept
            raw = marshalled(said, order)
            header = scan(raw)
            direction = Direction(said.direction)
            expected = verdict(rules, said, domain)
            assert (await decided(gate, raw, direction)).verdict == expected
            explanation = await gate.explain(facts_of(raw, header, direction, source))
            assert explanation.decision.verdict == expected


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
            answer = await decided(gate, raw, Direction(said.direction))
            assert answer.verdict == verdict(file_rules + bound, said, domain)
