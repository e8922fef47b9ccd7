# SPDX-License-Identifier: GPL-2.0-or-later
"""The D-Bus face for questions about rules.  Changes none."""

import asyncio
from collections.abc import Sequence
from typing import Any

from openxt_api.rpc_proxy_rules import RpcProxyRules
from openxt_core.errors import BadRequest, InvalidArgs
from openxt_core.ids import DOM0, Domid
from openxt_core.spec import Call
from openxt_rpcproxy.rules.decide import completed
from openxt_rpcproxy.rules.grammar import parse_rule
from openxt_rpcproxy.rules.learn import Width, learn
from openxt_rpcproxy.rules.lint import lint
from openxt_rpcproxy.rules.model import Facts, Rule, Source, Verdict
from openxt_rpcproxy.rules.record import Record, read_records, record_of
from openxt_rpcproxy.rules.replay import replay
from openxt_rpcproxy.rules.sources import RuleSources
from openxt_rpcproxy.server import Server
from openxt_rpcproxy.signatures import InterfaceTables

MAX_MESSAGES = 10_000


class RulesObject(RpcProxyRules):
    """com.citrix.xenclient.rpc_proxy.rules at /."""

    def __init__(self, call: Call, server: Server, sources: RuleSources) -> None:
        super().__init__(call)
        self._server = server
        self._sources = sources

    async def explain(
        self, domain: int, message: dict[str, str]
    ) -> tuple[str, str, str, list[Sequence[Any]]]:
        source = await self._server.source_of(Domid(domain))
        if source.domid == DOM0:
            return Verdict.ALLOW, "", "domain 0 is not asked about", []
        facts = _of(record_of(message, "the message").facts, source)
        found = await self._server.gate(source).explain(facts)
        rule = found.decision.rule or Rule(Verdict.DENY)
        others: list[Sequence[Any]] = [(one.rule.text, one.rule.origin, one.missed) for one in found.others]
        return found.decision.verdict, rule.text, rule.origin, others

    def check(self, rules: list[str]) -> list[str]:
        return [_problem(rule) for rule in rules]

    async def lint(self) -> list[Sequence[Any]]:
        findings = await asyncio.to_thread(
            lambda rules: lint(rules, InterfaceTables().by_name), self._sources.known()
        )
        return [(one.rule.text, one.rule.origin, one.about, one.text) for one in findings]

    async def replay(self, messages: list[str], rules: list[str]) -> list[Sequence[Any]]:
        records = _records(messages)
        tried = tuple(parse_rule(text, f"rule {at}") for at, text in enumerate(rules, start=1))
        decisions = await asyncio.to_thread(
            replay, records, completed(tried) if tried else await self._in_force(records)
        )
        return [(one.verdict, one.rule.text if one.rule else "") for one in decisions]

    async def learn(self, messages: list[str]) -> tuple[list[str], int]:
        records = _records(messages)
        found = await asyncio.to_thread(learn, records, await self._in_force(records), Width())
        return [rule.text for rule in found.rules], len(found.uncovered)

    async def _in_force(self, records: Sequence[Record]) -> tuple[Rule, ...]:
        """With those of every VM that the records speak of: these name their VM."""
        for uuid in {record.facts.source.uuid for record in records}:
            await self._sources.rules_for(uuid)
        return completed(self._sources.known())


def _of(facts: Facts, source: Source) -> Facts:
    """The facts of a message, said by that domain."""
    known, about = facts.known, facts.property_interface
    return Facts(facts.direction, facts.kind, source, known, facts.property_call, about)


def _problem(rule: str) -> str:
    try:
        parse_rule(rule, "rule")
    except BadRequest as error:
        return error.text
    return ""


def _records(messages: list[str]) -> list[Record]:
    if len(messages) > MAX_MESSAGES:
        raise InvalidArgs(f"{len(messages)} messages; at most {MAX_MESSAGES}")
    return [record for text in messages for record in read_records(text, "message")]
