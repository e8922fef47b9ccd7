# SPDX-License-Identifier: GPL-2.0-or-later
"""One message of one conversation → may it pass?  Collects what the pure decision needs.

The rules of a conversation are kept until any source of them changes.
"""

import logging

from openxt_bus.framing import Header
from openxt_core.ids import DOM0
from openxt_rpcproxy.facts import facts_of, subject
from openxt_rpcproxy.loglimit import LogLimit
from openxt_rpcproxy.rules.decide import decide
from openxt_rpcproxy.rules.model import Decision, Direction, Facts, Rule, Source, Undecided, Verdict
from openxt_rpcproxy.rules.sources import RuleSources
from openxt_rpcproxy.vms import Vms

log = logging.getLogger(__name__)

ALLOW = Decision(Verdict.ALLOW)


class Gate:
    """The policy of one conversation."""

    def __init__(self, source: Source, sources: RuleSources, vms: Vms, *, verbose: bool) -> None:
        self._source = source
        self._sources = sources
        self._vms = vms
        self._verbose = verbose
        self._rules: tuple[Rule, ...] = ()
        self._revision = -1
        self._limit = LogLimit()

    async def decide(self, message: bytes, header: Header, direction: Direction) -> Decision:
        """The verdict on one message, whose header is `header`."""
        if header.unix_fds:
            return Decision(Verdict.DENY)  # no file descriptor crosses between domains
        if self._source.domid == DOM0:
            return ALLOW
        decision = await self.ask(facts_of(message, header, direction, self._source))
        self._report(header, decision, direction)
        return decision

    async def ask(self, facts: Facts) -> Decision:
        """The verdict on facts, whoever gathered them."""
        while True:
            if self._revision != self._sources.revision:
                await self._refresh()
            answer = decide(self._rules, facts, self._vms.known(self._source.uuid))
            if not isinstance(answer, Undecided):
                return answer
            assert self._source.uuid is not None
            await self._vms.learn(self._source.uuid, answer.property)

    async def _refresh(self) -> None:
        revision = self._sources.revision
        self._rules = await self._sources.rules_for(self._source.uuid)
        self._revision = revision

    def _report(self, header: Header, decision: Decision, direction: Direction) -> None:
        if decision.verdict is Verdict.ALLOW:
            if self._verbose:
                log.info("ALLOW domain %d %s %s", self._source.domid, direction, subject(header))
        elif self._limit.may_log():
            log.warning(
                "DENY domain %d %s %s: %s", self._source.domid, direction, subject(header), decision.reason
            )
