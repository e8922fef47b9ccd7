# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumped trees: reading leaves, laying one document on another, what may be stored."""

from typing import Any

import pytest

from openxt_core.errors import BadRequest
from openxt_xenmgr.vm.tree import (
    flag,
    items,
    leaf_text,
    merge,
    number,
    numbered,
    text,
    texts_only,
    with_leaf,
)


@pytest.mark.parametrize(
    ("leaf", "shown"),
    [("x", "x"), (5, "5"), (True, "true"), (False, "false"), (1.5, "1.500000"), ({}, None), ([1], None)],
)
def test_leaves_read_as_the_database_shows_them(leaf: Any, shown: str | None) -> None:
    assert leaf_text(leaf) == shown


def test_what_is_not_there_gives_the_default() -> None:
    assert text({"a": "leaf"}, "a/b", "none") == "none"
    assert flag({}, "a", True) is True
    assert flag({"a": "perhaps"}, "a", True) is True
    assert number({"a": ""}, "a", 7) == 7


def test_lists_keep_the_stored_order() -> None:
    assert items({"l": {"1": "b", "0": "a"}}, "l") == ("b", "a")


def test_records_are_those_with_a_number_for_a_name() -> None:
    tree = {"disk": {"2": {"path": "x"}, "name": {"path": "y"}, "0": "leaf"}}
    assert [id for id, _ in numbered(tree, "disk")] == [2]


def test_merging_goes_down_into_objects_and_lets_the_upper_win() -> None:
    under = {"a": {"x": "1", "y": "2"}, "b": "leaf"}
    assert merge(under, {"a": {"y": "3"}, "b": {"z": "4"}}) == {"a": {"x": "1", "y": "3"}, "b": {"z": "4"}}
    assert under["a"] == {"x": "1", "y": "2"}


def test_numbers_become_texts_and_nothing_is_dropped_quietly_but_null() -> None:
    assert texts_only({"a": {"n": 5, "b": True, "gone": None}}) == {"a": {"n": "5", "b": "true"}}


def test_a_list_is_refused_with_its_place() -> None:
    with pytest.raises(BadRequest, match="/config/disk"):
        texts_only({"config": {"disk": [1]}})


def test_with_leaf_makes_the_way_and_keeps_the_rest() -> None:
    assert with_leaf({"a": {"x": "1"}}, "a/b/c", "2") == {"a": {"x": "1", "b": {"c": "2"}}}
