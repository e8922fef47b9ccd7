# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule texts: v4v firewall, PCI passthrough, policies, hooks, product properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest, CannotEditByPolicy, RuleParseError
from openxt_core.ids import Uuid
from openxt_core.v4v_rules import parse_rule
from openxt_xenmgr.vm import passthrough, policy, product
from openxt_xenmgr.vm.hooks import Program, Rpc, parse_hooks

VM = Uuid("11111111-2222-3333-4444-555555555555")


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("myself -> 0:5555", "myself -> 0:5555"),
        ("myself->0:5555", "myself -> 0:5555"),
        ("  0\t->  myself : 2222 ", "0 -> myself:2222"),
        ("my-stubdom -> 0:*", "my-stubdom -> 0"),
        ("MYSELF-IF-SEAMLESS -> seamless:80", "myself-if-seamless -> seamless:80"),
        ("myself -> dom-type=ndvm:5555", "myself -> dom-type=ndvm:5555"),
        ("dom-name=My-VM:1 -> *", "dom-name=My-VM:1 -> *"),
        (f"{VM}->0:1", f"{VM} -> 0:1"),
        ("3:10 -> 4", "3:10 -> 4"),
    ],
)
def test_v4v_rules_are_read_and_printed_canonically(written: str, canonical: str) -> None:
    assert str(parse_rule(written)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "myself",
        "-> 0",
        "myself -> ",
        "myself -> 0:x",
        "a -> b",
        "myself -> 0:1 junk",
        "0:99999999999 -> 0",
    ],
)
def test_other_v4v_rules_are_refused_with_their_number(text: str) -> None:
    with pytest.raises(RuleParseError) as refused:
        parse_rule(text)
    assert refused.value.text.startswith("237:")


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_a_refusal(text: str) -> None:
    try:
        rule = parse_rule(text)
    except RuleParseError:
        return
    assert parse_rule(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0000:00:16.0", "bdf=0000:00:16.0"),
        ("0000:00:16.0@5", "bdf=0000:00:16.0 @ 5"),
        ("0000:0A:1F.7 @ 1c", "bdf=0000:0a:1f.7 @ 1c"),
    ],
)
def test_pci_addresses_keep_their_slot_in_hexadecimal(text: str, shown: str) -> None:
    rule = passthrough.parse_address_rule(text)
    assert str(rule) == shown
    assert passthrough.parse_address_rule(rule.record()["bdf"]) == rule


@pytest.mark.parametrize("text", ["", "00:16.0", "0000:00:16.8", "0000:00:16.0@", "0000:00:20.0", "x"])
def test_other_pci_addresses_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        passthrough.parse_address_rule(text)


def test_a_match_rule_leaves_open_what_is_any_or_empty() -> None:
    rule = passthrough.parse_match_rule("0x0200", "any", "")
    assert str(rule) == "match class=0x0200 vendor= device="
    assert rule.record() == {"class": "0x0200"}


@pytest.mark.parametrize("text", ["0x10000", "-1", "net", "0x"])
def test_a_match_rule_takes_numbers_of_16_bits_only(text: str) -> None:
    with pytest.raises(BadRequest, match="class"):
        passthrough.parse_match_rule(text, "", "")


def test_deleting_a_match_rule_does_not_ask_for_its_slot() -> None:
    tree = {
        "config": {
            "pci": {
                "1": {"class": "512", "force-slot": "true"},
                "2": {"bdf": "0000:00:16.0@12"},
                "3": {"class": "nonsense"},
            }
        }
    }
    rules = passthrough.rules_of(tree)
    assert {id: str(rule) for id, rule in rules.items()} == {
        1: "match class=0x0200 vendor= device=",
        2: "bdf=0000:00:16.0 @ 12",
    }
    assert passthrough.without_equal(rules, passthrough.parse_match_rule("0x200", "", "")) == [1]
    assert passthrough.without_equal(rules, passthrough.parse_address_rule("0000:00:16.0")) == []
    assert passthrough.next_rule_id(rules) == 3
    assert passthrough.next_rule_id(()) == 1


def test_enforcing_resets_what_is_not_named() -> None:
    changes = policy.enforce("block-cd-rec; block-audio-access;unknown")
    assert {change.key for change in changes if change.value == "false"} == {
        "policies/cd-rec",
        "policies/audio-access",
    }
    assert len(changes) == 7


def test_retrieving_names_what_is_forbidden_in_order() -> None:
    tree = {"policies": {"wired-networking": "false", "cd-access": "false", "cd-rec": "true"}}
    assert policy.retrieve(tree) == "block-cd-access;block-wired-networking"
    assert policy.retrieve({}) == ""


def test_the_modify_policy_is_error_202() -> None:
    with pytest.raises(CannotEditByPolicy) as refused:
        policy.need_edit(VM, {"policies": {"modify-vm-settings": "false"}})
    assert refused.value.text.startswith("202:")
    policy.need_edit(VM, {})


def test_hooks_are_programs_or_calls() -> None:
    text = "/bin/one; ;rpc:destination = com.a , interface='com.a.b',member=\"go\", vm=x,junk;/bin/two"
    assert parse_hooks(text) == (
        Program("/bin/one"),
        Rpc("com.a", "com.a.b", "go", "/", "x"),
        Program("/bin/two"),
    )


def test_an_rpc_hook_without_a_needed_key_is_refused_by_name() -> None:
    with pytest.raises(BadRequest, match="interface, member"):
        parse_hooks("rpc:destination=com.a")


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("uint8", "255", "256"),
        ("sint8", "-128", "128"),
        ("uint64", str(2**64 - 1), "12x"),
        ("real32", "-1.5e3", "1.5 "),
        ("Boolean", "true", "True"),
    ],
)
def test_product_values_must_fit_their_type(kind: str, good: str, bad: str) -> None:
    product.check_value(kind, good)
    with pytest.raises(BadRequest, match=kind):
        product.check_value(kind, bad)


def test_product_properties_without_a_key_are_not_listed() -> None:
    tree = {"productproperty": {"a.b": {"key": "b", "class": "a", "password": "true"}, "x": {"value": "1"}}}
    (record,) = product.listing(tree)
    assert (record["id"], record["class"], record["type"], record["password"]) == (
        "a.b",
        "a",
        "String",
        "true",
    )
