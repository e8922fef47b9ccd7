# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a message may pass or not: the rule that decides, and what each other rule missed.  Pure.

Decides with the same function as the gate, so that what it tells is what happens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openxt_rpcproxy.rules.decide import PropertyValue, first_miss
from openxt_rpcproxy.rules.model import Decision, Facts, Rule, Undecided, Verdict

OVERRULED = ""
"""What a rule missed that matches, but before the one that decides."""


@dataclass(frozen=True)
class Other:
    """A rule that does not decide."""

    rule: Rule
    missed: str  # the first specifier that does not hold, or OVERRULED


@dataclass(frozen=True)
class Explanation:
    decision: Decision
    others: tuple[Other, ...]  # in the rules' order


def explain(
    rules: Sequence[Rule], facts: Facts, properties: Mapping[str, PropertyValue]
) -> Explanation | Undecided:
    """Asks every rule, those that are overruled as well; so it may want more properties than `decide`."""
    misses: list[Other] = []
    for rule in rules:
        miss = first_miss(rule, facts, properties)
        if isinstance(miss, Undecided):
            return miss
        misses.append(Other(rule, miss))
    deciding = next((at for at in reversed(range(len(misses))) if not misses[at].missed), None)
    if deciding is None:
        return Explanation(Decision(Verdict.DENY), tuple(misses))
    rule = misses.pop(deciding).rule
    return Explanation(Decision(rule.verdict, rule), tuple(misses))
