# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded messages → the narrowest rules that would have let them pass.  Pure.

Proposes, never applies: whether a guest ought to say what it said is for a person to judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from openxt_core.errors import BadRequest
from openxt_rpcproxy.rules.cover import includes
from openxt_rpcproxy.rules.decide import first_miss
from openxt_rpcproxy.rules.grammar import parse_rule
from openxt_rpcproxy.rules.model import Facts, Kind, Rule, Verdict
from openxt_rpcproxy.rules.record import Record
from openxt_rpcproxy.rules.replay import verdict_on

_REPLIES = (Kind.RETURN, Kind.ERROR)


@dataclass(frozen=True)
class Width:
    """What a proposed rule is bound to besides destination, interface, member and property."""

    per_vm: bool = False
    paths: bool = False
    arguments: bool = False


@dataclass(frozen=True)
class Learned:
    rules: tuple[Rule, ...]  # to be put after those in force
    uncovered: tuple[Record, ...]  # messages that no rule can name


def learn(records: Sequence[Record], in_force: Sequence[Rule], width: Width) -> Learned:
    """No rule for what is allowed already; none that another of them makes needless."""
    wanted = [record for record in records if _is_denied(record, in_force)]
    proposed: dict[str, Rule] = {}
    for text in dict.fromkeys(_text(record.facts, width) for record in wanted):
        try:
            proposed[text] = parse_rule(text, "learned")
        except BadRequest:
            continue  # a name that no rule can hold
    rules = _needed(list(proposed.values()), wanted)
    uncovered = tuple(one for one in wanted if _is_denied(one, (*in_force, *rules)))
    return Learned(rules, uncovered)


def _is_denied(record: Record, rules: Sequence[Rule]) -> bool:
    return verdict_on(record, rules).verdict is Verdict.DENY


def _needed(proposed: list[Rule], records: Sequence[Record]) -> tuple[Rule, ...]:
    """Without those that others include, or whose messages others let pass anyway."""
    kept: list[Rule] = []
    for rule in proposed:
        if not any(includes(other, rule) for other in kept):
            kept = [other for other in kept if not includes(rule, other)] + [rule]
    matched = [[at for at, rule in enumerate(kept) if _matches(rule, one)] for one in records]
    needed = set(range(len(kept)))
    for at in reversed(range(len(kept))):
        if all(at not in some or len(needed.intersection(some)) > 1 for some in matched):
            needed.remove(at)
    return tuple(kept[at] for at in sorted(needed))


def _matches(rule: Rule, record: Record) -> bool:
    return first_miss(rule, record.facts, record.properties) == ""


def _text(facts: Facts, width: Width) -> str:
    words = ["allow", f"{facts.direction}-{facts.kind}"]
    if facts.source.stubdom:
        words += ["stubdom", "true"]
    if width.per_vm and facts.source.uuid:
        words += ["dom-uuid", facts.source.uuid]
    if facts.kind in _REPLIES:
        return " ".join(words)  # a reply passes only to an open call anyway
    known = dict(facts.known)
    if facts.property_interface:
        known["interface"] = facts.property_interface
    names = ["destination", "interface", "member", "property"]
    names += ["path"] * width.paths + ["arg0"] * width.arguments
    return " ".join([*words, *(f"{name} {known[name]}" for name in names if name in known)])
