# SPDX-License-Identifier: GPL-2.0-or-later
"""What is odd about rules that can be read: what never decides, what names nothing that exists.  Pure.

Knows the interfaces of the IDL; about interfaces of others it says something only when they look like a
slip of the pen.  Changes no rule.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from openxt_core.spec import Interface
from openxt_rpcproxy.rules.cover import includes
from openxt_rpcproxy.rules.grammar import specifier_words
from openxt_rpcproxy.rules.model import POSSIBLE, PROPERTY_CALLS, Direction, Kind, Rule, Verdict

SIMILAR = 0.85  # how alike two names are of which one is taken for a slip of the pen

VM_PROPERTIES = "com.citrix.xenclient.xenmgr.vm.unrestricted"


@dataclass(frozen=True)
class Finding:
    rule: Rule
    about: str  # one word
    text: str


def lint(rules: Sequence[Rule], interfaces: Mapping[str, Interface]) -> tuple[Finding, ...]:
    """In the rules' order."""
    found = []
    for at, rule in enumerate(rules):
        found += list(_by_others(rules, at))
        found += [Finding(rule, *one) for one in _by_itself(rule)]
        found += [Finding(rule, *one) for one in _names(rule, interfaces)]
    return tuple(found)


def _by_others(rules: Sequence[Rule], at: int) -> Iterator[Finding]:
    rule = rules[at]
    later = next((one for one in reversed(rules[at + 1 :]) if includes(one, rule)), None)
    if later is not None:
        yield Finding(rule, "unreachable", f"never decides: {later.origin} matches all that it matches")
        return
    for one in reversed(rules[:at]):
        if one.direction is rule.direction and one.verdict is not rule.verdict:
            return
        if includes(one, rule):
            yield Finding(rule, "redundant", f"{one.origin} says the same and more")
            return


def _by_itself(rule: Rule) -> Iterator[tuple[str, str]]:
    words = list(specifier_words(rule.text))
    for word in sorted({one for one in words if one != "if-boolean" and words.count(one) > 1}):
        if not word.startswith("dom-") or word in ("dom-uuid", "dom-id"):
            yield "repeated", f"`{word}` is given twice; the last one counts"
    properties = dict(rule.properties)
    if any(properties[name] != value for name, value in rule.properties):
        text = "asks for two values of one property of the VM"
        if rule.verdict is Verdict.ALLOW:
            yield "impossible", text
        else:
            yield "doubtful", f"{text}: it matches only where that is not known"
    if "property" in rule.wanted and not _may_be_about_a_property(rule):
        yield "impossible", "`property` is compared with Get and Set calls, which this rule is not about"
    if rule.kind is not None:
        for name in rule.wanted:
            if name not in POSSIBLE[rule.kind]:
                yield "ignored", f"a {rule.kind} has no {name}: it is not compared"
    if rule.dom_id == 0:
        yield "impossible", "what domain 0 says is not asked about"
    if rule.verdict is Verdict.ALLOW and rule.direction is Direction.INCOMING and _is_bare(rule):
        yield "everything", "lets any guest say anything"


def _is_bare(rule: Rule) -> bool:
    return not (rule.kind or rule.wanted or rule.properties or rule.dom_uuid) and rule.dom_id is None


def _may_be_about_a_property(rule: Rule) -> bool:
    member = rule.wanted.get("member")
    return rule.kind in (None, Kind.CALL) and (member is None or member in PROPERTY_CALLS)


def _names(rule: Rule, interfaces: Mapping[str, Interface]) -> Iterator[tuple[str, str]]:
    for name in ("destination", "interface"):
        wanted = rule.wanted.get(name)
        if wanted is not None and wanted not in interfaces and (like := _similar(wanted, interfaces)):
            yield "unknown", f"{name} {wanted} is not known; {like[0]} is"
    spec = interfaces.get(rule.wanted.get("interface", ""))
    if spec is not None:
        yield from _members(rule, spec)
    vm = interfaces.get(VM_PROPERTIES)
    for name, value in rule.properties:
        if vm is not None and isinstance(value, bool):
            known = [one.name for one in vm.properties if one.type == "b"]
            yield from _unknown("boolean property of a VM", name, known)


def _members(rule: Rule, spec: Interface) -> Iterator[tuple[str, str]]:
    member, name = rule.wanted.get("member"), rule.wanted.get("property")
    properties = [one.name for one in spec.properties]
    methods = [one.name for one in spec.methods] if rule.kind in (None, Kind.CALL) else []
    signals = [one.name for one in spec.signals] if rule.kind in (None, Kind.SIGNAL) else []
    calls = sorted(PROPERTY_CALLS) if properties and rule.kind in (None, Kind.CALL) else []
    if member is not None and (rule.kind is None or "member" in POSSIBLE[rule.kind]):
        yield from _unknown(f"member of {spec.name}", member, [*methods, *signals, *calls])
    if name is not None and properties:
        yield from _unknown(f"property of {spec.name}", name, properties)


def _unknown(what: str, name: str, known: Sequence[str]) -> Iterator[tuple[str, str]]:
    if name not in known:
        like = difflib.get_close_matches(name, known, 1)
        yield "unknown", f"{name} is no {what}" + (f"; did you mean {like[0]}?" if like else "")


def _similar(name: str, interfaces: Mapping[str, Interface]) -> list[str]:
    return difflib.get_close_matches(name, interfaces, 1, SIMILAR)
