# SPDX-License-Identifier: GPL-2.0-or-later
"""Decide whether one message may pass.  Pure: rules and facts in, decision out.

Whoever needs a property of the source VM finds it out when `Undecided` says so, and asks again.

The policy in prose: rules are asked from last to first; the first that matches decides; no match denies.
All specifiers of a rule must hold.  What a message could have but lacks (an interface, a destination, the
identity of its domain) counts against it: it matches a deny, never an allow.  What a message of its kind
cannot have (the member of a reply) is not compared.  `interface X` also holds for Properties calls about X.
"""

from collections.abc import Mapping, Sequence

from openxt_rpcproxy.rules.model import POSSIBLE, Decision, Direction, Facts, Rule, Undecided, Verdict

PropertyValue = str | bool | None
"""None: asked for, but there is no such property, or it has another type."""


def decide(
    rules: Sequence[Rule], facts: Facts, properties: Mapping[str, PropertyValue]
) -> Decision | Undecided:
    """`properties`: those of the source VM that are known so far."""
    for rule in reversed(rules):
        if not _applies(rule, facts) or not _matches(rule, facts):
            continue
        outcome = _compare_properties(rule, facts, properties)
        if isinstance(outcome, Undecided):
            return outcome
        if outcome:
            return Decision(rule.verdict, rule)
    return Decision(Verdict.DENY)


def _applies(rule: Rule, facts: Facts) -> bool:
    return (
        rule.direction is facts.direction
        and _about_such_a_domain(rule, facts)
        and (rule.kind is None or rule.kind is facts.kind)
    )


def _about_such_a_domain(rule: Rule, facts: Facts) -> bool:
    """What the bus says, it says to any domain; what a domain says is asked of rules about its sort."""
    if rule.stubdom is None:
        return facts.direction is Direction.OUTGOING or not facts.source.stubdom
    return rule.stubdom is facts.source.stubdom


def _matches(rule: Rule, facts: Facts) -> bool:
    return _same_domain(rule, facts) and all(
        _same(name, value, facts, rule.verdict is Verdict.DENY)
        for name, value in rule.wanted.items()
        if name in POSSIBLE[facts.kind]
    )


def _same(name: str, value: str, facts: Facts, if_missing: bool) -> bool:
    if name == "interface" and facts.property_interface == value:
        return True
    return facts.known[name] == value if name in facts.known else if_missing


def _same_domain(rule: Rule, facts: Facts) -> bool:
    if rule.dom_id is not None and rule.dom_id != facts.source.domid:
        return False
    if rule.dom_uuid is None:
        return True
    if facts.source.uuid is None:
        return rule.verdict is Verdict.DENY
    return rule.dom_uuid == facts.source.uuid


def _compare_properties(
    rule: Rule, facts: Facts, properties: Mapping[str, PropertyValue]
) -> bool | Undecided:
    for name, wanted in rule.properties:
        if facts.source.uuid is not None and name not in properties:
            return Undecided(name)
        value = properties.get(name) if facts.source.uuid is not None else None
        if value is None:
            if rule.verdict is Verdict.ALLOW:
                return False
        elif value != wanted:
            return False
    return True
