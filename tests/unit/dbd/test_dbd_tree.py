# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree: what an operation finds, what it changes, and that an old tree stays as it was."""

import copy
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_dbd import json_text, tree
from openxt_dbd.path import Path, parse
from openxt_dbd.tree import ABSENT, Change, FilePtr, Node, Nodes, same

BINARY = FilePtr("/config/vms/icon.png")


def make(text: str) -> Node:
    return json_text.loads(text)


def after(root: Node, changes: tuple[Change, ...], owner: object = None) -> Node:
    for path, node in changes:
        changed = tree.apply(root, path, node, owner or tree.Owner())
        assert changed is not ABSENT
        root = changed
    return root


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("s", "x/y"), ("i", "5"), ("t", "true"), ("f", "1.500000"), ("l", ""), ("o", ""), ("z", ""),
        ("none", ""), ("s/below", ""), ("b", "file:/config/vms/icon.png"), ("b/below", ""), ("", ""),
    ],
)  # fmt: skip
def test_read_gives_the_text_of_a_leaf_and_nothing_for_anything_else(path: str, value: str) -> None:
    root = make('{"s":"x/y","i":5,"t":true,"f":1.5,"l":[1],"o":{"a":"b"},"z":null}')
    assert isinstance(root, Nodes)
    root["b"] = BINARY
    assert tree.read(root, parse(path)) == value


@pytest.mark.parametrize(
    ("path", "found"), [("", True), ("z", True), ("o", True), ("x", False), ("s/x", False)]
)
def test_every_kind_of_entry_exists(path: str, found: bool) -> None:
    assert tree.exists(make('{"s":"1","o":{},"z":null}'), parse(path)) is found


def test_the_root_exists_always() -> None:
    assert tree.exists(None, ())


def test_only_inner_nodes_have_names() -> None:
    root = make('{"o":{"b":1,"a":2},"s":"1","l":["x"],"z":null}')
    assert tree.names(root, ()) == ["o", "s", "l", "z"]
    assert tree.names(root, ("o",)) == ["b", "a"]
    assert [tree.names(root, (name,)) for name in ("s", "l", "z", "none")] == [[], [], [], []]


@pytest.mark.parametrize(
    ("before", "path", "result"),
    [
        ("{}", "a", '{"a":"v"}'),
        ("{}", "a/b/c", '{"a":{"b":{"c":"v"}}}'),
        ('{"a":5,"b":1}', "a", '{"a":"v","b":1}'),
        ('{"a":null}', "a", '{"a":"v"}'),
        ('{"a":[1]}', "a", '{"a":"v"}'),
        ('{"a":"leaf"}', "a/b", '{"a":{"b":"v"}}'),
        ('{"a":null}', "a/b", '{"a":{"b":"v"}}'),
        ('{"a":{"b":1}}', "a", '{"a":{"b":1}}'),
        ('{"a":{}}', "a", '{"a":"v"}'),
        ('{"a":"1","b":{},"a":"2"}', "a", '{"a":"v","b":{},"a":"v"}'),
        ('{"a":{"x":"1"},"a":{"y":"2"}}', "a/x", '{"a":{"x":"v"},"a":{"y":"2","x":"v"}}'),
        ('{"a":"1","a":"2"}', "b", '{"a":"1","a":"2","b":"v"}'),
    ],
)
def test_write_makes_a_string_leaf_unless_that_would_lose_a_subtree(
    before: str, path: str, result: str
) -> None:
    root = make(before)
    assert same(after(root, tree.write(root, parse(path), "v")), make(result))


@pytest.mark.parametrize(
    ("before", "path", "value", "result"),
    [
        ('{"a":{"b":1},"c":2}', "a", '{"k":"v"}', '{"a":{"k":"v"},"c":2}'),
        ('{"a":"leaf"}', "a/b", "5", '{"a":{"b":5}}'),
        ("{}", "a", "null", '{"a":null}'),
        ("{}", "a", "{}", '{"a":{}}'),
        ('{"a":1}', "", '{"b":2}', '{"b":2}'),
        ('{"a":1,"b":2,"a":3}', "a", "[]", '{"a":[],"b":2,"a":[]}'),
    ],
)
def test_inject_replaces_and_never_merges(before: str, path: str, value: str, result: str) -> None:
    root = make(before)
    assert same(after(root, tree.inject(root, parse(path), make(value))), make(result))


@pytest.mark.parametrize(
    ("before", "path", "result"),
    [
        ('{"a":{"b":1,"c":2}}', "a/b", '{"a":{"c":2}}'),
        ('{"a":{"b":1}}', "a/b", '{"a":{}}'),
        ('{"a":1}', "b", '{"a":1}'),
        ('{"a":1,"z":null}', "b", '{"a":1,"z":null}'),
        ('{"a":1}', "a/b", '{"a":1}'),
        ('{"a":null}', "a", "{}"),
        ('{"a":{"b":1,"y":null},"z":null,"k":{"n":null}}', "a/b", '{"a":{},"k":{"n":null}}'),
        ('{"a":1,"b":2}', "", "{}"),
        ('{"a":1,"b":2,"a":3}', "a", '{"b":2}'),
    ],
)
def test_rm_takes_the_entry_and_the_empty_ones_beside_its_path(before: str, path: str, result: str) -> None:
    root = make(before)
    assert same(after(root, tree.rm(root, parse(path))), make(result))


@pytest.mark.parametrize("path", ["b", "b/below", "b/far/below"])
@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (lambda root, path: tree.write(root, path, "v"), "cannot overwrite binary file nodes"),
        (lambda root, path: tree.inject(root, path, None), "cannot overwrite binary file nodes"),
        (lambda root, path: tree.rm(root, path), "cannot remove binary file nodes"),
    ],
)
def test_a_binary_node_can_neither_change_nor_go(
    operation: Callable[[Node, Path], object], text: str, path: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        operation(Nodes({"b": BINARY}), parse(path))
    assert caught.value.text == text


def test_a_folder_of_binary_nodes_can_be_removed() -> None:
    root = Nodes({"a": Nodes({"b": BINARY})})
    assert same(after(root, tree.rm(root, ("a",))), Nodes())


@pytest.mark.parametrize("value", ["x", ""])
def test_what_changes_nothing_is_no_change(value: str) -> None:
    root = Nodes({"a": value, "o": make('{"l":[1,2.5,null]}'), "full": Nodes({"k": "v"})})
    assert tree.write(root, ("a",), value) == ()
    assert tree.write(root, ("full",), value) == ()
    assert tree.inject(root, ("o",), make('{"l":[1,2.5,null]}')) == ()
    assert tree.rm(root, ("nope", "deep")) == ()


def test_a_path_that_is_too_deep_is_refused() -> None:
    with pytest.raises(BadRequest, match="levels"):
        tree.write(Nodes(), ("a",) * (tree.MAX_DEPTH + 1), "v")
    with pytest.raises(BadRequest, match="levels"):
        tree.rm(Nodes(), ("a",) * 100_000)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1.0"), ("1", "true"), ("0", "false"), ('"1"', "1"), ("[1]", "[true]"), ("{}", "[]")],
)
def test_values_of_different_kind_are_different(one: str, other: str) -> None:
    assert not same(make(one), make(other))
    assert not same(Nodes({"a": make(one)}), Nodes({"a": make(other)}))


NAMES = st.sampled_from(["a", "b", "c"])
CHANGES = st.tuples(
    st.lists(NAMES, min_size=1, max_size=3).map(tuple),
    st.sampled_from([ABSENT, None, "x", Nodes({"a": "1", "b": Nodes()}), Nodes()]),
)


@given(st.lists(CHANGES, max_size=12), st.lists(st.booleans(), min_size=12, max_size=12))
def test_a_tree_that_somebody_keeps_never_changes(
    changes: list[tuple[Path, Node]], keeps: list[bool]
) -> None:
    root: Node = Nodes({"a": Nodes({"a": "1", "b": Nodes({"c": "2"})})})
    kept: list[tuple[Node, Node]] = []
    owner = tree.Owner()
    for (path, node), keep in zip(changes, keeps, strict=False):
        if keep:
            kept.append((root, copy.deepcopy(root)))
            owner = tree.Owner()
        root = after(root, (Change(path, node),), owner)
    for shared, separate in kept:
        assert same(shared, separate)


def test_one_owner_copies_a_level_once_and_shares_the_rest() -> None:
    root: Node = Nodes({"a": Nodes({"b": "1"}), "c": Nodes({"d": "2"})})
    owner = tree.Owner()
    first = after(root, (Change(("a", "b"), "x"),), owner)
    second = after(first, (Change(("a", "b"), "y"),), owner)
    assert second is first is not root
    assert tree.find(first, ("c",)) is tree.find(root, ("c",))
    assert tree.read(root, ("a", "b")) == "1"
