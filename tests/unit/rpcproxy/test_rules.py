# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules: the grammar, the verdicts of the acceptance table, and the default policy."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.ids import Domid, parse_uuid
from openxt_rpcproxy.rules.decide import PropertyValue, decide
from openxt_rpcproxy.rules.grammar import RuleError, parse_rule, parse_rules
from openxt_rpcproxy.rules.model import Decision, Direction, Facts, Kind, Rule, Source, Undecided, Verdict

UUID = parse_uuid("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
GUEST = Source(Domid(7), UUID)
STUB = Source(Domid(8), UUID, stubdom=True)
DEFAULT_RULES = Path(__file__).parents[3] / "rules" / "rpc-proxy.rules"

VECTORS = parse_rules(
    """deny all
allow destination A interface I member m
allow stubdom true destination S
allow inc-error
allow inc-signal interface J member n
allow destination A interface K
deny destination A interface K member Set""",
    "vectors",
)


def call(destination: str, interface: str, member: str, about: str = "", source: Source = GUEST) -> Facts:
    fields = {"destination": destination, "interface": interface, "member": member}
    known = {name: value for name, value in fields.items() if value}
    return Facts(Direction.INCOMING, Kind.CALL, source, known, about != "", about)


def signal(interface: str, member: str, direction: Direction = Direction.INCOMING) -> Facts:
    return Facts(direction, Kind.SIGNAL, GUEST, {"interface": interface, "member": member})


def reply(kind: Kind) -> Facts:
    return Facts(Direction.INCOMING, kind, GUEST, {"destination": ":1.5"})


PROPERTIES = "org.freedesktop.DBus.Properties"


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (call("A", "I", "m"), "allow"),
        (call("A", "I", "other"), "deny"),
        (call("A", "X", "m"), "deny"),
        (call("A", "", "m"), "deny"),
        (call("A", "", "Set"), "deny"),
        (call("A", PROPERTIES, "Get", "K"), "allow"),
        (call("A", PROPERTIES, "Set", "K"), "deny"),
        (call("A", PROPERTIES, "Set", "X"), "deny"),
        (call("B", "I", "m"), "deny"),
        (call("S", "any", "thing"), "deny"),
        (call("S", "any", "thing", source=STUB), "allow"),
        (call("A", "I", "m", source=STUB), "deny"),
        (reply(Kind.ERROR), "allow"),
        (reply(Kind.RETURN), "deny"),
        (signal("J", "n"), "allow"),
        (signal("J", "x"), "deny"),
        (signal("K", "x"), "allow"),
    ],
)
def test_the_acceptance_vectors_hold(facts: Facts, verdict: str) -> None:
    decision = decide(VECTORS, facts, {})
    assert isinstance(decision, Decision)
    assert decision.verdict == verdict


def test_the_last_matching_rule_decides_and_is_named() -> None:
    decision = decide(VECTORS, call("A", PROPERTIES, "Set", "K"), {})
    assert isinstance(decision, Decision)
    assert decision.rule is VECTORS[-1]
    assert "vectors:7" in decision.reason


def test_without_a_rule_everything_is_denied() -> None:
    assert decide((), call("A", "I", "m"), {}) == Decision(Verdict.DENY)


ASKING = parse_rules("deny all\nallow destination D if-boolean flag true dom-type ndvm", "asking")


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        ({"flag": True, "type": "ndvm"}, "allow"),
        ({"flag": False, "type": "ndvm"}, "deny"),
        ({"flag": True, "type": "svm"}, "deny"),
        ({"flag": None, "type": "ndvm"}, "deny"),
        ({"flag": "true", "type": "ndvm"}, "deny"),
    ],
)
def test_all_properties_must_be_equal_in_value_and_type(
    known: dict[str, PropertyValue], verdict: str
) -> None:
    decision = decide(ASKING, call("D", "I", "m"), known)
    assert isinstance(decision, Decision)
    assert decision.verdict == verdict


def test_a_property_is_asked_only_when_the_rule_matches_otherwise() -> None:
    assert decide(ASKING, call("D", "I", "m"), {}) == Undecided("flag")
    assert decide(ASKING, call("D", "I", "m"), {"flag": True}) == Undecided("type")
    assert isinstance(decide(ASKING, call("other", "I", "m"), {}), Decision)


@pytest.mark.parametrize("rule", ["{} dom-uuid " + UUID, "{} if-boolean flag true", "{} dom-type svm"])
def test_a_missing_identity_never_satisfies_an_allow_nor_escapes_a_deny(rule: str) -> None:
    unknown = call("A", "I", "m", source=Source(Domid(9)))
    for first, second, verdict in (("deny", "allow", "deny"), ("allow", "deny", "deny")):
        rules = (parse_rule(f"{first} all", "1"), parse_rule(rule.format(second), "2"))
        decision = decide(rules, unknown, {})
        assert isinstance(decision, Decision)
        assert decision.verdict == verdict


def test_dom_id_takes_a_number() -> None:
    rules = (parse_rule("allow dom-id 7", "here"),)
    assert decide(rules, call("A", "I", "m"), {}) == Decision(Verdict.ALLOW, rules[0])
    assert decide(rules, call("A", "I", "m", source=Source(Domid(8), UUID)), {}) == Decision(Verdict.DENY)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("permit all", "not allow or deny"),
        ("allow destination", "a word is missing"),
        ("allow all destination A", "after `all`"),
        ("allow colour red", "unknown word"),
        ("allow stubdom maybe", "not true or false"),
        ("allow dom-id x", "not a domain id"),
        ("allow destination a:b", "not a word"),
        ("allow dom-uuid 12", "not a uuid"),
    ],
)
def test_an_unreadable_rule_is_refused_naming_place_and_reason(text: str, complaint: str) -> None:
    with pytest.raises(Exception, match=complaint) as caught:
        parse_rules(f"deny all\n{text}", "file")
    assert caught.type is RuleError or "uuid" in complaint


def test_comments_blanks_and_carriage_returns_are_no_rules() -> None:
    rules = parse_rules("\r\n# all\n  deny\tall # really\r\n\nallow inc-error # end", "file")
    assert [rule.text for rule in rules] == ["deny all", "allow inc-error"]
    assert [rule.origin for rule in rules] == ["file:3", "file:5"]


@given(st.text())
def test_any_text_is_rules_or_a_rule_error(text: str) -> None:
    try:
        parse_rules(text, "random")
    except RuleError:
        pass


words = st.sampled_from(
    [
        "allow",
        "deny",
        "all",
        "inc-any",
        "out-signal",
        "destination",
        "interface",
        "member",
        "stubdom",
        "true",
        "false",
        "dom-id",
        "3",
        "if-boolean",
        "a.b",
    ]
)


@given(st.lists(words, max_size=8).map(" ".join))
def test_what_is_read_says_again_what_was_written(text: str) -> None:
    try:
        rule = parse_rule(text, "random")
    except RuleError:
        return
    assert parse_rule(rule.text, "random") == rule


@pytest.fixture(scope="module")
def default_rules() -> tuple[Rule, ...]:
    return parse_rules(DEFAULT_RULES.read_text(), "default")


X = "com.citrix.xenclient"


@pytest.mark.parametrize(
    ("facts", "known", "verdict"),
    [
        (call(f"{X}.xenmgr", f"{X}.xenmgr", "list_vms"), {"type": "svm"}, "allow"),
        (call(f"{X}.xenmgr", f"{X}.xenmgr.host", "shutdown"), {"type": "svm"}, "deny"),
        (call(f"{X}.xenmgr", f"{X}.xenmgr.vm.unrestricted", "x"), {"type": "svm"}, "deny"),
        (call(f"{X}.db", f"{X}.db", "read"), {"domstore-read-access": True, "type": "svm"}, "allow"),
        (call(f"{X}.db", f"{X}.db", "read"), {"domstore-read-access": False, "type": "svm"}, "deny"),
        (call(f"{X}.db", f"{X}.db", "inject"), {"domstore-write-access": True, "type": "svm"}, "deny"),
        (call(f"{X}.xenmgr", f"{X}.xenmgr.vm", "add_disk"), {"type": "syncvm"}, "allow"),
        (call(f"{X}.xenmgr", f"{X}.xenmgr.vm", "add_disk"), {"type": "svm"}, "deny"),
        (call("org.freedesktop.DBus", "org.freedesktop.DBus", "Hello"), {}, "allow"),
        (call("org.freedesktop.DBus", "org.freedesktop.DBus", "BecomeMonitor"), {}, "deny"),
        (signal(f"{X}.guest", "agent_started"), {"type": "svm", "usb-control": False}, "allow"),
        (signal("org.any", "thing", Direction.OUTGOING), {}, "allow"),
        (signal(f"{X}.db.watch", "changed", Direction.OUTGOING), {}, "deny"),
    ],
)
def test_the_default_policy_allows_what_guests_need_and_no_more(
    default_rules: tuple[Rule, ...], facts: Facts, known: dict[str, PropertyValue], verdict: str
) -> None:
    assert len(default_rules) == 53 + 1  # those of the original, and one about a signal of ours
    decision = decide(default_rules, facts, known)
    assert isinstance(decision, Decision)
    assert decision.verdict == verdict


def get(name: str = "", about: str = "K", member: str = "Get") -> Facts:
    known = {"destination": "A", "interface": PROPERTIES, "member": member, "arg0": about, "property": name}
    known = {key: value for key, value in known.items() if value}
    return Facts(Direction.INCOMING, Kind.CALL, GUEST, known, True, about)


@pytest.mark.parametrize(
    ("rules", "facts", "verdict"),
    [
        ("allow property memory", get("memory"), "allow"),
        ("allow interface K property memory member Get", get("memory"), "allow"),
        ("allow property memory", get("vcpus"), "deny"),
        ("allow property memory", get(), "deny"),
        ("allow property memory", call("A", "I", "m"), "deny"),
        ("allow property memory", signal("J", "n"), "deny"),
        ("allow all\ndeny property memory", call("A", "I", "m"), "allow"),
        ("allow all\ndeny property memory", get("memory"), "deny"),
        ("allow all\ndeny property memory", get("vcpus"), "allow"),
        ("allow all\ndeny property memory", get(member="GetAll"), "deny"),
        ("allow all\ndeny interface K", get("memory", ""), "deny"),
        ("allow interface " + PROPERTIES, get("memory", ""), "allow"),
    ],
)
def test_a_property_rule_is_about_properties_and_an_unnamed_one_may_be_any(
    rules: str, facts: Facts, verdict: str
) -> None:
    decision = decide(parse_rules(rules, "here"), facts, {})
    assert isinstance(decision, Decision)
    assert decision.verdict == verdict


@pytest.mark.parametrize("word", ["path", "arg0"])
@pytest.mark.parametrize(
    ("wanted", "value", "verdict"),
    [
        ("/vm/a", "/vm/a", "allow"),
        ("/vm/a", "/vm/ab", "deny"),
        ("/vm/a", "/vm/a/b", "deny"),
        ("/vm/*", "/vm/a/b", "allow"),
        ("/vm/*", "/vm", "deny"),
        ("/vm/*", "/vmx", "deny"),
        ("/vm/*", None, "deny"),
    ],
)
def test_paths_and_first_arguments_are_equal_or_below(
    word: str, wanted: str, value: str | None, verdict: str
) -> None:
    facts = Facts(Direction.INCOMING, Kind.CALL, GUEST, {} if value is None else {word: value})
    for kind in ("", "inc-method-call "):
        decision = decide(parse_rules(f"allow {kind}{word} {wanted}", "here"), facts, {})
        assert isinstance(decision, Decision)
        assert decision.verdict == verdict
    missing = decide(parse_rules(f"allow all\ndeny {word} {wanted}", "here"), facts, {})
    assert isinstance(missing, Decision)
    assert missing.verdict == ("deny" if value is None or verdict == "allow" else "allow")


@pytest.mark.parametrize("text", ["allow path vm", "allow path /a//b", "allow path /a/", "allow arg0 \x7f"])
def test_a_path_or_argument_that_none_can_be_is_refused(text: str) -> None:
    with pytest.raises(RuleError, match=r"path|characters"):
        parse_rule(text, "here")


def test_the_root_and_everything_below_it_can_be_named() -> None:
    assert parse_rule("allow path /", "here").wanted == {"path": "/"}
    assert parse_rule("allow path /*", "here").wanted == {"path": "/*"}


def test_a_message_of_an_unknown_type_satisfies_no_allow_that_names_anything() -> None:
    facts = Facts(Direction.INCOMING, Kind.OTHER, GUEST)
    for rule in ("allow destination A", "allow interface I", "allow member m", "allow path /a"):
        assert decide(parse_rules(rule, "here"), facts, {}) == Decision(Verdict.DENY)
