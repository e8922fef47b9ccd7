# SPDX-License-Identifier: GPL-2.0-or-later
"""One message of one conversation → may it pass?  Collects what the pure decision needs.

The rules of a conversation are kept until any source of them changes, its verdicts until any VM changes as
well.  A verdict is kept by everything that `decide` looks at, which the rules in force say, so that it is the
one it would give again.  Not all of it is in the header: `arg0` and `property` are arguments.
"""

import logging
from collections.abc import Mapping
from typing import Protocol

from openxt_bus.framing import Header
from openxt_bus.loglimit import LogLimit
from openxt_core.ids import DOM0, Uuid
from openxt_rpcproxy.audit import AuditLog
from openxt_rpcproxy.facts import facts_of, subject
from openxt_rpcproxy.rules.decide import PropertyValue, decide
from openxt_rpcproxy.rules.explain import Explanation, explain
from openxt_rpcproxy.rules.model import Decision, Direction, Facts, Rule, Source, Undecided, Verdict
from openxt_rpcproxy.rules.sources import RuleSources

log = logging.getLogger(__name__)

ALLOW = Decision(Verdict.ALLOW)
DENY_DESCRIPTORS = Decision(
    Verdict.DENY, Rule(Verdict.DENY, text="no file descriptor crosses between domains", origin="always")
)
_ARGUMENTS = frozenset({"arg0", "property"})
MAX_VERDICTS = 1024  # kept per conversation: a guest may make up as many names as it likes
MAX_KEPT = 2048  # characters of what a verdict is kept by; a longer one is found anew each time


class Properties(Protocol):
    """What rules ask about VMs.  Whenever a known property may have another value, the epoch ends."""

    def known(self, uuid: Uuid | None) -> Mapping[str, PropertyValue]: ...

    async def learn(self, uuid: Uuid, name: str) -> None: ...


class Gate:
    """The policy of one conversation."""

    __slots__ = (
        "_asked", "_audit", "_limit", "_read_in", "_rules", "_source", "_sources", "_verbose", "_verdicts",
        "_vms", "epoch",
    )  # fmt: skip

    def __init__(
        self,
        source: Source,
        sources: RuleSources,
        vms: Properties,
        *,
        verbose: bool,
        lines: LogLimit | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        """`lines`: how many may be logged of this domain."""
        self._source = source
        self._sources = sources
        self._vms = vms
        self._verbose = verbose
        self._audit = audit
        self._rules: tuple[Rule, ...] = ()
        self._asked: frozenset[str] = frozenset()  # names of facts that any rule looks at
        self.epoch = sources.epoch
        self._read_in = -1  # the epoch in which the rules were read
        self._verdicts: dict[tuple[object, ...], Decision] = {}
        self._limit = lines or LogLimit()

    @property
    def tells_of_allowed(self) -> bool:
        """Somebody wants to know of every message: none may pass unseen."""
        return self._verbose or (self._audit is not None and self._audit.wants_allowed)

    @property
    def looks_at_arguments(self) -> bool:
        """A rule in force asks for an argument: a header alone decides nothing."""
        return not self._asked.isdisjoint(_ARGUMENTS)

    def decide(self, message: bytes, header: Header, direction: Direction) -> Decision | None:
        """The verdict on one message, whose header is `header`; None when something must be read for it."""
        if self._source.domid == DOM0:
            return DENY_DESCRIPTORS if header.unix_fds else ALLOW
        facts = facts_of(message, header, direction, self._source)
        decision = DENY_DESCRIPTORS if header.unix_fds else self._decide(facts)
        if isinstance(decision, Undecided | None):
            return None
        self._report(header, facts, decision)
        return decision

    async def prepare(self, message: bytes, header: Header, direction: Direction) -> None:
        """Read what `decide` needs."""
        await self.ask(facts_of(message, header, direction, self._source))

    def note_refusal(self, message: bytes, header: Header, why: str) -> None:
        """A message of the client that no rule denies, but something else does."""
        facts = facts_of(message, header, Direction.INCOMING, self._source)
        rule = Rule(Verdict.DENY, text=why, origin="always")
        self._write_down(facts, Decision(Verdict.DENY, rule))

    async def ask(self, facts: Facts) -> Decision:
        """The verdict on facts, whoever gathered them."""
        while True:
            answer = self._decide(facts)
            if isinstance(answer, Decision):
                return answer
            if answer is None:
                await self._refresh()
            else:
                assert self._source.uuid is not None
                await self._vms.learn(self._source.uuid, answer.property)

    def _decide(self, facts: Facts) -> Decision | Undecided | None:
        """None: the rules must be read."""
        if self._read_in != self.epoch.number:
            return None
        key = self._key(facts)
        decision = self._verdicts.get(key)
        if decision is not None:
            return decision
        answer = decide(self._rules, facts, self._vms.known(self._source.uuid))
        return answer if isinstance(answer, Undecided) else self._keep(key, answer)

    def _key(self, facts: Facts) -> tuple[object, ...]:
        """Everything of these facts that the rules look at."""
        asked = (item for item in facts.known.items() if item[0] in self._asked)
        return (facts.direction, facts.kind, facts.property_call, facts.property_interface, *asked)

    def _keep(self, key: tuple[object, ...], decision: Decision) -> Decision:
        if len(repr(key)) > MAX_KEPT:
            return decision
        if len(self._verdicts) >= MAX_VERDICTS:
            self._verdicts.clear()
        self._verdicts[key] = decision
        return decision

    async def _refresh(self) -> None:
        """What changes while the rules are read is seen when the next message comes."""
        epoch = self.epoch.number
        self._rules = await self._sources.rules_for(self._source.uuid)
        self._asked = frozenset(name for rule in self._rules for name in rule.wanted)
        self._verdicts.clear()
        self._read_in = epoch

    async def explain(self, facts: Facts) -> Explanation:
        """Why these facts are decided as they are."""
        rules = await self._sources.rules_for(self._source.uuid)
        while True:
            answer = explain(rules, facts, self._vms.known(self._source.uuid))
            if not isinstance(answer, Undecided):
                return answer
            assert self._source.uuid is not None
            await self._vms.learn(self._source.uuid, answer.property)

    def _report(self, header: Header, facts: Facts, decision: Decision) -> None:
        self._write_down(facts, decision)
        if decision.verdict is Verdict.ALLOW:
            if self._verbose:
                log.info("ALLOW domain %d %s %s", self._source.domid, facts.direction, subject(header))
        elif self._limit.may_log():
            about = (self._source.domid, facts.direction, subject(header), decision.reason)
            log.warning("DENY domain %d %s %s: %s", *about)

    def _write_down(self, facts: Facts, decision: Decision) -> None:
        if self._audit is not None:
            known = self._vms.known(self._source.uuid)
            self._audit.note(facts, decision, known, arg0="arg0" in self._asked)
