# SPDX-License-Identifier: GPL-2.0-or-later
"""Questions about rules: what includes what, what is odd, what would be needed, and why."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_rules import Domain, Said
from rule_worlds import domains, facts_of, messages, rule_lists, rule_texts

from effort import effort
from openxt_core.spec import Arg, Interface, Method, Property, Signal
from openxt_rpcproxy.rules.cover import includes
from openxt_rpcproxy.rules.decide import PropertyValue, decide, first_miss
from openxt_rpcproxy.rules.explain import OVERRULED, Explanation, explain
from openxt_rpcproxy.rules.grammar import parse_rule, parse_rules
from openxt_rpcproxy.rules.learn import Width, learn
from openxt_rpcproxy.rules.lint import lint
from openxt_rpcproxy.rules.model import Decision, Facts, Rule, Verdict
from openxt_rpcproxy.rules.record import Record, RecordError, as_object, read_records, record_of
from openxt_rpcproxy.rules.replay import verdict_on
from openxt_rpcproxy.signatures import InterfaceTables

DEFAULT_RULES = Path(__file__).parents[3] / "rules" / "rpc-proxy.rules"
MANY = settings(max_examples=effort(200, 20_000), deadline=None)


def rules_of(texts: list[str]) -> tuple[Rule, ...]:
    return tuple(parse_rule(text, f"rule:{at}") for at, text in enumerate(texts, start=1))


def known_of(domain: Domain) -> dict[str, PropertyValue]:
    names = ("type", "name", "flag", "other")
    values = {name: domain.properties.get(name) for name in names}
    return {name: value if isinstance(value, str | bool) else None for name, value in values.items()}


def decided(rules: tuple[Rule, ...], facts: Facts, domain: Domain) -> Decision:
    answer = decide(rules, facts, known_of(domain))
    assert isinstance(answer, Decision)
    return answer


@pytest.mark.proof
@MANY
@given(rule_texts, rule_texts, messages, domains)
def test_a_rule_that_includes_another_matches_all_that_it_matches(
    wide: str, narrow: str, said: Said, domain: Domain
) -> None:
    one, other = rules_of([wide, narrow])
    facts, known = facts_of(said, domain), known_of(domain)
    if includes(one, other) and first_miss(other, facts, known) == "":
        assert first_miss(one, facts, known) == ""


@pytest.mark.proof
@MANY
@given(rule_lists, st.lists(messages, min_size=1, max_size=8), domains)
def test_what_lint_calls_unreachable_never_decides_and_what_it_calls_redundant_changes_nothing(
    texts: list[str], some: list[Said], domain: Domain
) -> None:
    rules = rules_of(texts)
    findings = lint(rules, {})
    for said in some:
        facts = facts_of(said, domain)
        decision = decided(rules, facts, domain)
        for one in findings:
            if one.about == "unreachable":
                assert decision.rule is not one.rule
            if one.about in ("unreachable", "redundant"):
                without = tuple(rule for rule in rules if rule is not one.rule)
                assert decided(without, facts, domain).verdict is decision.verdict
            if one.about == "impossible":
                assert first_miss(one.rule, facts, known_of(domain)) != "" or facts.source.uuid is None


@pytest.mark.proof
@MANY
@given(rule_lists, messages, domains)
def test_an_explanation_tells_the_deciding_rule_and_a_true_miss_of_each_other(
    texts: list[str], said: Said, domain: Domain
) -> None:
    rules, facts, known = rules_of(texts), facts_of(said, domain), known_of(domain)
    found, decision = explain(rules, facts, known), decided(rules, facts, domain)
    assert isinstance(found, Explanation)
    assert found.decision == decision
    assert len(found.others) == len(rules) - (decision.rule is not None)
    for one in found.others:
        assert first_miss(one.rule, facts, known) == one.missed
        if one.missed == OVERRULED:
            assert decision.rule is not None
            assert rules.index(one.rule) < rules.index(decision.rule)


@pytest.mark.proof
@MANY
@given(rule_lists, st.lists(messages, min_size=1, max_size=8), messages, domains, st.booleans())
def test_learned_rules_allow_the_recording_and_none_of_them_is_needless(
    texts: list[str], some: list[Said], other: Said, domain: Domain, per_vm: bool
) -> None:
    rules = rules_of(texts)
    records = [Record(facts_of(said, domain), known_of(domain)) for said in some]
    found = learn(records, rules, Width(per_vm=per_vm))
    whole = (*rules, *found.rules)
    for record in records:
        assert (verdict_on(record, whole).verdict is Verdict.DENY) == (record in found.uncovered)
    for rule in found.rules:
        fewer = tuple(one for one in whole if one is not rule)
        assert any(verdict_on(one, fewer).verdict is not verdict_on(one, whole).verdict for one in records)


def call(member: str, **more: str) -> dict[str, object]:
    return {"domid": 7, "destination": "a.A", "interface": "i.I", "member": member, **more}


def recorded(*some: dict[str, object]) -> list[Record]:
    return [record_of(one, "here") for one in some]


def test_a_learned_rule_names_what_was_called_and_no_more() -> None:
    properties = "org.freedesktop.DBus.Properties"
    prop = call("Set", interface=properties, about="i.I", property="memory")
    records = recorded(call("m"), call("m", path="/other"), call("n"), prop)
    found = learn(records, (), Width())
    assert [rule.text for rule in found.rules] == [
        "allow inc-method-call destination a.A interface i.I member m",
        "allow inc-method-call destination a.A interface i.I member n",
        "allow inc-method-call destination a.A interface i.I member Set property memory",
    ]
    bound = learn(recorded(call("m", path="/x", arg0="/y")), (), Width(paths=True, arguments=True))
    assert bound.rules[0].text.endswith("member m path /x arg0 /y")


def test_a_learned_rule_goes_that_another_makes_needless() -> None:
    properties = "org.freedesktop.DBus.Properties"
    unnamed, named = call("Get", interface=properties), call("Get", interface=properties, about="i.I")
    found = learn(recorded(named, unnamed), (), Width())
    assert [rule.text for rule in found.rules] == [
        f"allow inc-method-call destination a.A interface {properties} member Get"
    ]


def test_a_name_that_no_rule_can_hold_is_told_as_uncovered() -> None:
    records = recorded(call("m", destination=":1.5"))
    found = learn(records, (), Width())
    assert (found.rules, found.uncovered) == ((), tuple(records))


TABLES = {
    "i.I": Interface(
        "i.I",
        (Method("list_vms"),),
        (Property("memory", "i", "readwrite"),),
        (Signal("changed", (Arg("", "s"),)),),
    ),
    "com.citrix.xenclient.xenmgr.vm.unrestricted": Interface(
        "com.citrix.xenclient.xenmgr.vm.unrestricted", properties=(Property("usb-control", "b", "read"),)
    ),
}


@pytest.mark.parametrize(
    ("rule", "about", "text"),
    [
        ("allow interface i.I member list_vm", "unknown", "did you mean list_vms"),
        ("allow inc-signal interface i.I member list_vms", "unknown", "list_vms is no member"),
        ("allow interface i.I property memery", "unknown", "did you mean memory"),
        ("allow if-boolean usb-contrl true", "unknown", "did you mean usb-control"),
        ("allow destination com.citrix.xenclient.xenmgr.vm.unrestrcted", "unknown", "is not known"),
        ("allow destination a.A destination a.B", "repeated", "`destination` is given twice"),
        ("allow dom-type svm dom-type ndvm", "impossible", "two values"),
        ("deny dom-type svm dom-type ndvm", "doubtful", "not known"),
        ("allow inc-signal property memory", "impossible", "Get and Set"),
        ("allow member list_vms property memory", "impossible", "Get and Set"),
        ("allow inc-signal destination a.A", "ignored", "signal has no destination"),
        ("allow dom-id 0 destination a.A", "impossible", "domain 0"),
        ("allow all", "everything", "anything"),
    ],
)
def test_lint_finds_what_is_odd(rule: str, about: str, text: str) -> None:
    findings = [one for one in lint(rules_of([rule]), TABLES) if one.about == about]
    assert [text in one.text for one in findings] == [True]


@pytest.mark.parametrize(
    "rule",
    [
        "allow interface i.I member changed",
        "allow interface i.I member Get property memory",
        "deny interface i.I member Set",
        "allow destination other.Name interface other.Name member any",
        "allow if-boolean usb-control true destination a.A",
    ],
)
def test_lint_says_nothing_about_what_is_right_or_not_ours(rule: str) -> None:
    assert lint(rules_of([rule]), TABLES) == ()


def test_the_default_policy_has_three_rules_to_wonder_about() -> None:
    """All three are the original's."""
    findings = lint(parse_rules(DEFAULT_RULES.read_text(), "default"), InterfaceTables().by_name)
    assert [(one.about, one.rule.wanted["member"]) for one in findings] == [
        ("redundant", "list_vms"),
        ("redundant", "Get"),
        ("unknown", "generic_message"),
    ]


@pytest.mark.proof
@MANY
@given(messages, domains, rule_lists)
def test_a_record_says_again_what_was_written_down(said: Said, domain: Domain, texts: list[str]) -> None:
    facts, known = facts_of(said, domain), known_of(domain)
    decision = decided(rules_of(texts), facts, domain)
    record = record_of(as_object(facts, decision, known, arg0=True), "here")
    kept = {name: value for name, value in facts.known.items() if value}
    assert record.facts == Facts(
        facts.direction, facts.kind, facts.source, kept, facts.property_call, facts.property_interface
    )
    assert (record.verdict, dict(record.properties)) == (decision.verdict, known)


def test_arguments_stay_out_of_a_record_unless_rules_ask_for_them() -> None:
    facts = record_of(call("m", arg0="secret"), "here").facts
    assert "arg0" not in as_object(facts, Decision(Verdict.DENY), {}, arg0=False)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("nonsense", "not JSON"),
        ("[1]", "not an object"),
        ('{"type": "letter"}', "letter"),
        ('{"direction": "up"}', "up"),
        ('{"domid": "7"}', "domain id"),
        ('{"domid": true}', "domain id"),
        ('{"member": 5}', "not a text"),
        ('{"uuid": "x"}', "not a uuid"),
        ('{"stubdom": 1}', "stubdom"),
        ('{"vm": {"type": 5}}', "texts and booleans"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_line_that_is_no_record_is_refused_by_place_and_reason(line: str, complaint: str) -> None:
    with pytest.raises(RecordError, match=f"file:2: .*{complaint}"):
        list(read_records(f'{{"domid": 7, "left-out": 3}}\n{line}', "file"))
