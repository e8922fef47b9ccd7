# SPDX-License-Identifier: GPL-2.0-or-later
"""What v4v rules open between the domains of running VMs, and the words of viptables for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.ids import Uuid
from openxt_core.v4v_rules import parse_rule
from openxt_xenmgr.vm.argo_openings import (
    SELF,
    Opening,
    Speaker,
    adding,
    difference,
    idle_rules,
    openings_of,
    parse_listing,
    removing,
)

NDVM_UUID = Uuid("00000000-0000-0000-0000-000000000002")
UIVM_UUID = Uuid("00000000-0000-0000-0000-000000000001")
OTHER = Uuid("11111111-2222-3333-4444-555555555555")


def speaker(uuid: Uuid, domid: int, kind: str, *rules: str, **more: object) -> Speaker:
    return Speaker(uuid, domid, kind, kind, tuple(map(parse_rule, rules)), **more)


NDVM = speaker(
    NDVM_UUID,
    2,
    "ndvm",
    "myself -> 0:5555",
    "0 -> myself:2222",
    "myself -> 0:2222",
    "myself:5555 -> 0",
    "myself -> 0:4878",
)
UIVM = speaker(UIVM_UUID, 3, "uivm", "myself -> dom-type=ndvm:5555")


def commands(*speakers: Speaker) -> list[str]:
    return [" ".join(adding(one)) for one in openings_of(speakers)]


def test_the_network_vm_opens_what_it_opened_in_the_original_in_that_order() -> None:
    assert commands(NDVM) == [
        "-I 1 --dom-in 2 --dom-out 0 --port-out 5555 -j ACCEPT",
        "-I 1 --dom-in 0 --dom-out 2 --port-out 2222 -j ACCEPT",
        "-I 1 --dom-in 2 --dom-out 0 --port-out 2222 -j ACCEPT",
        "-I 1 --dom-in 2 --dom-out 0 --port-in 5555 -j ACCEPT",
        "-I 1 --dom-in 2 --dom-out 0 --port-out 4878 -j ACCEPT",
        "-I 1 --dom-in 0 --dom-out 2 --port-in 5555 -j ACCEPT",
        "-I 1 --dom-in 2 --dom-out 0 --port-in 2222 -j ACCEPT",
        "-I 1 --dom-in 0 --dom-out 2 --port-in 2222 -j ACCEPT",
        "-I 1 --dom-in 0 --dom-out 2 --port-out 5555 -j ACCEPT",
        "-I 1 --dom-in 0 --dom-out 2 --port-in 4878 -j ACCEPT",
    ]


@pytest.mark.parametrize("together", [(NDVM, UIVM), (UIVM, NDVM)])
def test_a_rule_towards_another_vm_opens_when_both_run_whoever_came_first(
    together: tuple[Speaker, ...],
) -> None:
    both = {
        "-I 1 --dom-in 3 --dom-out 2 --port-out 5555 -j ACCEPT",
        "-I 1 --dom-in 2 --dom-out 3 --port-in 5555 -j ACCEPT",
    }
    assert set(commands(*together)) - set(commands(NDVM)) == both
    assert commands(UIVM) == []


def test_every_kind_of_end_means_who_it_says() -> None:
    others = (
        speaker(OTHER, 7, "svm", is_seamless=True),
        Speaker(NDVM_UUID, 8, "ndvm", "My Network"),
    )

    def targets(end: str, **more: object) -> set[int | None]:
        me = speaker(UIVM_UUID, 3, "svm", f"0:1 -> {end}:2", **more)
        found = openings_of((me, *others))
        return {one.target for one in found if (one.source_port, one.target_port) == (1, 2)}

    assert targets("*") == {None}
    assert targets("myself") == {3}
    assert targets("my-stubdom") == set()
    assert targets("my-stubdom", stubdom=4) == {4}
    assert targets("myself-if-seamless") == set()
    assert targets("myself-if-seamless", is_seamless=True) == {3}
    assert targets("seamless") == {7}
    assert targets("dom-type=svm") == targets("dom-type=pvm") == {3, 7}
    assert targets("dom-type=ndvm") == {8}
    assert targets("dom-name=my network") == {8}
    assert targets("dom-name=nobody") == set()
    assert targets(str(OTHER)) == {7}
    assert targets("22222222-2222-3333-4444-555555555555") == set()
    assert targets("12") == {12}


def test_nothing_is_opened_to_itself_and_not_everything_to_everything() -> None:
    me = speaker(OTHER, 5, "svm", "myself -> dom-type=svm:1", "* -> *", "0 -> 0:1")
    assert openings_of((me,)) == {}
    one_port = speaker(OTHER, 5, "svm", "* -> *:80")
    assert list(openings_of((one_port,))) == [Opening(None, None, None, 80), Opening(None, None, 80, None)]


def test_what_two_rules_open_is_open_once_and_until_neither_wants_it() -> None:
    first = speaker(OTHER, 5, "svm", "myself -> 0:1", "myself -> 0:1", "dom-type=svm -> 0:1")
    second = speaker(UIVM_UUID, 6, "svm", "dom-type=svm -> 0:1")
    before, after = openings_of((first, second)), openings_of((second,))
    closing, opening = difference(before, after)
    assert (len(before), len(after)) == (4, 2)
    assert {one.source for one in closing} | {one.target for one in closing} == {5, 0}
    assert opening == []


def test_rules_that_open_nothing_now_are_known() -> None:
    assert [str(rule) for rule in idle_rules(UIVM, [UIVM])] == ["myself -> dom-type=ndvm:5555"]
    assert idle_rules(UIVM, [UIVM, NDVM]) == []


def test_a_domain_without_a_number_is_called_by_a_word() -> None:
    opening = Opening(SELF, 0, None, 80)
    assert " ".join(adding(opening)) == "-I 1 --dom-in MYSELF --dom-out 0 --port-out 80 -j ACCEPT"
    assert " ".join(removing(opening)) == "-D --dom-in MYSELF --dom-out 0 --port-out 80 -j ACCEPT"


def test_a_listing_is_read_and_other_lines_are_no_rules() -> None:
    text = "1 : ACCEPT 2:* -> 0:5555\n 2 : REJECT *:* -> *:*\nchain v4v\n3 : DROP 1:1 -> 1:1\n"
    assert list(parse_listing(text)) == [
        ("ACCEPT", Opening(2, 0, None, 5555)),
        ("REJECT", Opening(None, None)),
    ]


@given(st.text(max_size=200))
def test_any_text_is_a_listing(text: str) -> None:
    assert all(verdict in ("ACCEPT", "REJECT") for verdict, _ in parse_listing(text))


ENDS = st.sampled_from(
    ["*", "0", "myself", "my-stubdom", "seamless", "myself-if-seamless", "dom-type=svm", "dom-type=ndvm", "9"]
)
PORTS = st.sampled_from(["", ":1", ":2"])
RULES = st.builds(lambda a, p, b, q: parse_rule(f"{a}{p} -> {b}{q}"), ENDS, PORTS, ENDS, PORTS)
SPEAKERS = st.lists(
    st.builds(
        Speaker,
        st.uuids().map(lambda uuid: Uuid(str(uuid))),
        st.integers(1, 6),
        st.sampled_from(["svm", "ndvm"]),
        st.just("name"),
        st.lists(RULES, max_size=4).map(tuple),
        st.sampled_from([None, 20]),
        st.booleans(),
    ),
    max_size=4,
    unique_by=(lambda one: one.domid, lambda one: one.uuid),
)


@given(SPEAKERS, SPEAKERS)
def test_closing_and_opening_the_difference_leads_from_any_state_to_any_other(
    old: list[Speaker], new: list[Speaker]
) -> None:
    before, after = openings_of(old), openings_of(new)
    closing, opening = difference(before, after)
    assert (set(before) - set(closing)) | set(opening) == set(after)
    assert set(closing) <= set(before)
    assert not set(opening) & set(before)


@given(SPEAKERS)
def test_every_opening_has_its_way_back(speakers: list[Speaker]) -> None:
    found = openings_of(speakers)
    for one in found:
        assert Opening(one.target, one.source, one.target_port, one.source_port) in found
        assert one.source is None or one.source != one.target
