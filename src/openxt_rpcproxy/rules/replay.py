# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded messages → what becomes of them by other rules.  Pure."""

from collections.abc import Sequence

from openxt_rpcproxy.rules.decide import decide
from openxt_rpcproxy.rules.model import Decision, Rule
from openxt_rpcproxy.rules.record import Record


def replay(records: Sequence[Record], rules: Sequence[Rule]) -> list[Decision]:
    """One decision a record.  What is not known of its VM is unequal to everything."""
    return [verdict_on(record, rules) for record in records]


def verdict_on(record: Record, rules: Sequence[Rule]) -> Decision:
    properties = dict(record.properties)
    while not isinstance(answer := decide(rules, record.facts, properties), Decision):
        properties[answer.property] = None
    return answer
