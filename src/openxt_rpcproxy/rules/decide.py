# SPDX-License-Identifier: GPL-2.0-or-later
"""Decide whether one message may pass.  Pure: rules and facts in, decision out.

Whoever needs a property of the source VM finds it out when `Undecided` says so, and asks again.

The policy in prose: rules are asked from last to first; the first that matches decides; no match denies.
All specifiers of a rule must hold.  What a message could have but lacks (an interface, a destination, the
identity of its domain) counts against it: it matches a deny, never an allow.  What a message of its kind
cannot have (the member of a reply) is not compared.  `interface X` also holds for Properties calls about X.
`property` is asked of Properties calls only: a rule that names one matches nothing else.
"""

from collections.abc import Mapping, Sequence

from openxt_rpcproxy.rules.model import BELOW, POSSIBLE, Decision, Direction, Facts, Rule, Undecided, Verdict

PropertyValue = str | bool | None
"""None: asked for, but there is no such property, or it has another type."""


IMPLIED = Rule(
    Verdict.ALLOW, Direction.OUTGOING, text="allow out-any", origin="implied, as no rule allows out"
)


def completed(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """With `allow out-any` before them unless a rule allows something to go out.

    The original never asked about what the bus says to a guest, and its rule files need not speak of it.
    """
    allows_out = any(rule.direction is Direction.OUTGOING and rule.verdict is Verdict.ALLOW for rule in rules)
    return tuple(rules) if allows_out else (IMPLIED, *rules)


def decide(
    rules: Sequence[Rule], facts: Facts, properties: Mapping[str, PropertyValue]
) -> Decision | Undecided:
    """`properties`: those of the source VM that are known so far."""
    for rule in reversed(rules):
        miss = first_miss(rule, facts, properties)
        if isinstance(miss, Undecided):
            return miss
        if not miss:
            return Decision(rule.verdict, rule)
    return Decision(Verdict.DENY)


def first_miss(rule: Rule, facts: Facts, properties: Mapping[str, PropertyValue]) -> str | Undecided:
    """The first specifier that does not hold; "" when the rule matches."""
    if rule.direction is not facts.direction or rule.kind not in (None, facts.kind):
        return "subject"
    return (
        _miss_of_domain(rule, facts)
        or _miss_of_message(rule, facts)
        or _miss_of_properties(rule, facts, properties)
    )


def _miss_of_domain(rule: Rule, facts: Facts) -> str:
    source = facts.source
    if not _about_such_a_domain(rule, facts):
        return "stubdom"
    if rule.dom_id is not None and rule.dom_id != source.domid:
        return "dom-id"
    if rule.dom_uuid is None or rule.dom_uuid == source.uuid:
        return ""
    return "" if source.uuid is None and rule.verdict is Verdict.DENY else "dom-uuid"


def _about_such_a_domain(rule: Rule, facts: Facts) -> bool:
    """What the bus says, it says to any domain; what a domain says is asked of rules about its sort."""
    if rule.stubdom is None:
        return facts.direction is Direction.OUTGOING or not facts.source.stubdom
    return rule.stubdom is facts.source.stubdom


def _miss_of_message(rule: Rule, facts: Facts) -> str:
    possible = POSSIBLE[facts.kind]
    if_missing = rule.verdict is Verdict.DENY
    for name, value in rule.wanted.items():
        if name in possible and not _holds(name, value, facts, if_missing):
            return name
    return ""


def _holds(name: str, value: str, facts: Facts, if_missing: bool) -> bool:
    if name == "interface" and facts.property_call:
        if not facts.property_interface:  # it may be about any interface
            return if_missing or facts.known.get(name) == value
        if facts.property_interface == value:
            return True
    if name == "property" and not facts.property_call:
        return False
    if name not in facts.known:
        return if_missing
    return covers(value, facts.known[name]) if name in ("path", "arg0") else facts.known[name] == value


def covers(wanted: str, value: str) -> bool:
    """Whether a `path` or `arg0` of a rule stands for this value."""
    return value.startswith(wanted[:-1]) if wanted.endswith(BELOW) else value == wanted


def _miss_of_properties(rule: Rule, facts: Facts, properties: Mapping[str, PropertyValue]) -> str | Undecided:
    for name, wanted in rule.properties:
        if facts.source.uuid is not None and name not in properties:
            return Undecided(name)
        value = properties.get(name) if facts.source.uuid is not None else None
        if value != wanted and not (value is None and rule.verdict is Verdict.DENY):
            return word_for(name, wanted)
    return ""


def word_for(name: str, wanted: str | bool) -> str:
    """How a rule spells its question about a property of the VM."""
    return f"if-boolean {name}" if isinstance(wanted, bool) else f"dom-{name}"
