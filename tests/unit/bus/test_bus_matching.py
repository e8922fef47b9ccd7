# SPDX-License-Identifier: GPL-2.0-or-later
"""Match rules: the text for the bus and the test on our side mean the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_bus.matching import Match, Signal, keys_of

SIGNAL = Signal(":1.5", "/vm/x/disk", "org.test.I", "changed", ["first", 2])


@pytest.mark.parametrize(
    ("match", "rule"),
    [
        (Match(), "type='signal'"),
        (Match("a.b", "c"), "type='signal',interface='a.b',member='c'"),
        (Match(sender="a.b", path="/x"), "type='signal',sender='a.b',path='/x'"),
        (Match(path_namespace="/x", arg0="it's"), r"type='signal',path_namespace='/x',arg0='it'\''s'"),
    ],
)
def test_a_rule_names_what_is_wanted_and_nothing_else(match: Match, rule: str) -> None:
    assert match.rule == rule


@pytest.mark.parametrize(
    "match",
    [
        Match(),
        Match("org.test.I", "changed", path="/vm/x/disk", arg0="first"),
        Match(path_namespace="/vm"),
        Match(path_namespace="/vm/x/disk"),
        Match(path_namespace="/"),
        Match(sender=":1.5"),
    ],
)
def test_a_wanted_signal_is_accepted(match: Match) -> None:
    assert match.accepts(SIGNAL, match.sender)


@pytest.mark.parametrize(
    "match",
    [
        Match("org.test.J"),
        Match(member="changes"),
        Match(path="/vm"),
        Match(path_namespace="/vm/x/dis"),
        Match(sender=":1.6"),
        Match(arg0="second"),
    ],
)
def test_any_other_signal_is_not(match: Match) -> None:
    assert not match.accepts(SIGNAL, match.sender)


def test_nobody_owns_the_name_so_nobody_is_accepted() -> None:
    assert not Match(sender="org.test").accepts(SIGNAL, "")


def test_only_well_known_names_need_their_owner_followed() -> None:
    assert Match(sender="org.test").followed_name == "org.test"
    assert [Match(sender=name).followed_name for name in ("", ":1.5", "org.freedesktop.DBus")] == ["", "", ""]


@given(
    st.builds(
        Match,
        member=st.sampled_from(["", "changed", "other"]),
        path=st.sampled_from(["", "/vm/x/disk", "/"]),
        arg0=st.sampled_from(["", "first", "other"]),
    ),
    st.sampled_from([[], ["first"], [""], [1], [["first"]]]),
)
def test_a_signal_is_looked_up_under_the_key_of_every_match_that_accepts_it(
    match: Match, body: list[object]
) -> None:
    signal = Signal(":1.5", "/vm/x/disk", "org.test.I", "changed", body)
    keys = list(keys_of(signal))
    assert len(keys) == len(set(keys))
    if match.accepts(signal, match.sender):
        assert match.key in keys


@pytest.mark.parametrize(
    ("wanted", "value", "is_accepted"),
    [
        ("/vm/x/", "/vm/x/name", True),
        ("/vm/x/", "/vm/x/", True),
        ("/vm/x/", "/vm/", True),
        ("/vm/x/", "/", True),
        ("/vm/x/", "/vm/x", False),
        ("/vm/x/", "/vm/xy/", False),
        ("/vm/x", "/vm/x/name", False),
        ("/vm/x/", 5, False),
    ],
)
def test_arg0path_accepts_what_is_above_or_below(wanted: str, value: object, is_accepted: bool) -> None:
    signal = Signal(":1.1", "/", "a.b", "c", (value,))
    assert Match(arg0path=wanted).accepts(signal, "") is is_accepted
