# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of database files: strict reading, exact writing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbd_model import Model, from_json
from openxt_dbd.json_text import BadText, dumps, loads
from openxt_dbd.tree import MAX_DEPTH, FilePtr, Node, Nodes, Real, Repeated, depth, same

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(-1e9, 1e9).map(lambda value: Real(float(f"{value:.6f}")))
    | TEXTS
)


def _branches(nodes: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.lists(st.tuples(TEXTS, nodes), max_size=4)
    return st.lists(nodes, max_size=3).map(tuple) | pairs.map(
        lambda found: Nodes(dict(found)) if len(dict(found)) == len(found) else Repeated(found)
    )


NODES: st.SearchStrategy[Node] = st.recursive(LEAVES, _branches, max_leaves=20)


@given(NODES)
def test_what_is_written_reads_as_the_same_value(node: Node) -> None:
    assert same(loads(dumps(node)), node)


@given(NODES)
def test_the_text_is_the_original_s_byte_by_byte(node: Node) -> None:
    text = dumps(node).decode()
    model = Model()
    model.root.append(["x", from_json(text)])
    expected = model.dump("/x")
    assert text.replace("\\u007f", "\x7f") == expected


@given(st.text(max_size=30) | st.text('{}[]"\\:,0123456789.eE+-utnrf \n\t/', max_size=30))
def test_the_reader_takes_exactly_what_is_json(text: str) -> None:
    try:
        json.loads(text, strict=False, parse_constant=lambda word: pytest.fail)
        is_json = "NaN" not in text and "Infinity" not in text
    except ValueError:
        is_json = False
    try:
        loads(text)
        assert is_json
    except BadText:
        pass


def test_the_layout_is_two_spaces_one_item_a_line_and_a_last_newline() -> None:
    node = Nodes({"a": Nodes({"b": "1"}), "l": (1, Nodes()), "e": Nodes(), "n": ()})
    assert dumps(node).decode() == (
        '{\n  "a": {\n    "b": "1"\n  },\n  "l": [\n    1,\n    { }\n  ],\n  "e": { },\n  "n": []\n}\n'
    )


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ("x/y", '"x\\/y"'),
        ("{}", '"{}"'),
        ("{},\n{}", '"{},\\n{}"'),
        ('\n\t\r\b\f\\"', '"\\n\\t\\r\\b\\f\\\\\\""'),
        ("\x01", '"\\u0001"'),
        ("ü€😀", '"ü€😀"'),
        ("\\/", '"\\\\\\/"'),
        (Real(1.5), "1.500000"),
        (5, "5"),
        (-(2**63), "-9223372036854775808"),
        (True, "true"),
        (None, "null"),
        (Nodes(), "{ }"),
        ((), "[]"),
        (FilePtr("/x"), "null"),
        (Repeated([]), "{ }"),
    ],
)
def test_a_value_has_one_exact_text(node: Node, text: str) -> None:
    assert dumps(node).decode() == text + "\n"


def test_a_name_that_comes_twice_is_kept_twice_in_order() -> None:
    text = '{\n  "a": "1",\n  "b": "2",\n  "a": 1.500000\n}\n'
    assert dumps(loads(text)).decode() == text


def test_a_binary_node_inside_is_written_as_null() -> None:
    assert (
        dumps(Nodes({"f": FilePtr("/x"), "r": Real(0.0)})).decode() == '{\n  "f": null,\n  "r": 0.000000\n}\n'
    )


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ('"\\u00e9\\ud83d\\ude00"', "é😀"),
        ('"a\tb\n"', "a\tb\n"),
        ("5e3", Real(5000.0)),
        ("9223372036854775808", Real(9223372036854775808.0)),
        (" \n null \t", None),
        ("[1,[],{}]", (1, (), Nodes())),
        ('{"a":[{"b":null}]}', Nodes({"a": (Nodes({"b": None}),)})),
    ],
)
def test_the_reader_understands(text: str, node: Node) -> None:
    assert same(loads(text), node)


@pytest.mark.parametrize(
    "text",
    ["", "{", "{} {}", '{"a":1,}', "01", "-", "1.", "NaN", "Infinity", "-Infinity", "1e999", "undefined",
     '"\\ud800"', '{"\\udc00":1}', '"\\u0000"', '"\0"', '{"a\0":1}', "'a'", "\ufeff{}", '"\\x"', "nul",
     "9" * 5000, "[" * 100_000, "/* */ 1"],
)  # fmt: skip
def test_the_reader_refuses(text: str) -> None:
    with pytest.raises(BadText):
        loads(text)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(BadText):
        loads(b'"\xff"')


def test_what_is_nested_too_deep_is_refused_and_what_is_just_deep_enough_can_be_written() -> None:
    deepest = '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH
    node = loads(deepest)
    assert depth(node) == MAX_DEPTH
    assert same(loads(dumps(node)), node)
    with pytest.raises(BadText):
        loads('{"a":' + deepest + "}")
    with pytest.raises(BadText):
        loads(deepest, MAX_DEPTH - 1)


def test_a_wide_value_is_not_deep() -> None:
    assert depth(loads("[" + ",".join(["{}"] * 1000) + "]")) == 2
