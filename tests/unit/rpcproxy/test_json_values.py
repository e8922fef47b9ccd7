# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus values and JSON values, by type, both ways."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_bus.codec import encode_body
from openxt_core.errors import InvalidArgs
from openxt_core.signature import Variant, single
from openxt_rpcproxy.json_values import body_from_json, from_json, guessed_signature, to_json


@pytest.mark.parametrize(
    ("value", "signature", "expected"),
    [
        (True, "b", True),
        (3, "y", 3),
        (3.9, "i", 3),
        (-3.1, "i", -4),
        (2**63 - 1, "x", 2**63 - 1),
        (2**64 - 1, "t", 2**64 - 1),
        (3, "d", 3.0),
        ("a", "s", "a"),
        ("/a", "o", "/a"),
        ("as", "g", "as"),
        ([1, 2.5], "ad", [1.0, 2.5]),
        ([1, 2], "ay", [1, 2]),
        ({"a": 1}, "a{si}", {"a": 1}),
        ({"5": ["x"]}, "a{uas}", {5: ["x"]}),
        ({"true": 1}, "a{by}", {True: 1}),
        ({"/a": {"b": "c"}}, "a{oa{ss}}", {"/a": {"b": "c"}}),
        ("a", "v", Variant("s", "a")),
        (False, "v", Variant("b", False)),
        (7.5, "v", Variant("i", 7)),
        (["a", 1, True], "(sib)", ["a", 1, True]),
        ([[1, "x"]], "a(is)", [[1, "x"]]),
    ],
)
def test_every_type_is_read(value: Any, signature: str, expected: Any) -> None:
    found = from_json(value, single(signature))
    assert found == expected
    assert type(found) is type(expected)
    encode_body([found], signature)


@pytest.mark.parametrize(
    ("value", "signature"),
    [
        (None, "s"),
        (None, "v"),
        (1, "s"),
        (1, "b"),
        (True, "i"),
        (True, "d"),
        ("1", "i"),
        ({}, "as"),
        ([], "a{ss}"),
        ([1], "v"),
        ({"x": 1}, "a{us}"),
        ([1], "(ii)"),
        ([None], "as"),
        (float("inf"), "i"),
        (10**400, "d"),
    ],
)
def test_what_is_not_of_the_type_is_refused(value: Any, signature: str) -> None:
    with pytest.raises(InvalidArgs):
        from_json(value, single(signature))


@pytest.mark.parametrize(
    ("value", "signature"), [(-1, "u"), (256, "y"), (2**31, "i"), ("x", "o"), ("zz", "g")]
)
def test_values_out_of_range_and_bad_paths_are_not_sent(value: Any, signature: str) -> None:
    with pytest.raises(InvalidArgs):
        encode_body(body_from_json([value], signature), signature)


def test_what_nobody_gives_a_type_is_guessed_as_the_original_did() -> None:
    assert guessed_signature([True, 1, 2.5, "s", [1], {"a": "b"}]) == "buusaya{ss}"
    with pytest.raises(InvalidArgs):
        guessed_signature([None])


def test_values_too_many_are_dropped_and_too_few_refused() -> None:
    assert body_from_json(["a", "b"], "s") == ["a"]
    with pytest.raises(InvalidArgs, match="2 arguments"):
        body_from_json(["a"], "ss")


def test_no_file_descriptor_is_sent() -> None:
    with pytest.raises(InvalidArgs, match="file descriptor"):
        body_from_json([0], "h")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Variant("a{sv}", {"a": Variant("i", 1)}), {"a": 1}),
        (b"\0\xff", [0, 255]),
        ([["a", 1.0], ["b", 2.5]], [["a", 1], ["b", 2.5]]),
        ({1: "a", 2: "b"}, {"1": "a", "2": "b"}),
        ({True: "a"}, {"true": "a"}),
        (float("nan"), None),
        (2**64 - 1, 2**64 - 1),
        (1e300, 1e300),
    ],
)
def test_every_value_is_written(value: Any, expected: Any) -> None:
    assert to_json(value) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
signatures = st.text("ybnqiuxtdsogv", min_size=1, max_size=1) | st.sampled_from(
    ["as", "ay", "a{sv}", "a{us}", "(is)", "a(ss)", "aa{ss}", "av", "a{s(iv)}"]
)


@given(json_values, signatures)
def test_any_value_is_refused_or_can_be_marshalled(value: Any, signature: str) -> None:
    try:
        encode_body(body_from_json([value], signature), signature)
    except InvalidArgs:
        pass
