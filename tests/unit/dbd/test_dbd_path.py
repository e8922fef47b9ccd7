# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths of the database."""

import pytest

from openxt_dbd import path


@pytest.mark.parametrize("text", ["a/b", "/a/b", "//a//b/", "a/b///"])
def test_empty_segments_do_not_count(text: str) -> None:
    assert path.parse(text) == ("a", "b")


@pytest.mark.parametrize("text", ["", "/", "///"])
def test_nothing_is_the_root(text: str) -> None:
    assert path.parse(text) == path.ROOT


def test_dots_are_names_like_any_other() -> None:
    assert path.parse("/a/../.") == ("a", "..", ".")


def test_the_text_of_a_path_starts_with_a_slash() -> None:
    assert path.text(("vm", "x")) == "/vm/x"
    assert path.text(()) == "/"
