# SPDX-License-Identifier: GPL-2.0-or-later
"""Layers are whole or not there."""

from pathlib import Path

import pytest
from xenbed.cache import KEPT, Layer, ready


def layer(*ingredients: str, text: str = "made") -> Layer:
    return Layer("thing", ingredients, lambda folder: (folder / "file").write_text(text) and None)


def test_a_layer_is_built_once(tmp_path: Path) -> None:
    first = ready(tmp_path, layer("a", text="first"))
    second = ready(tmp_path, layer("a", text="second"))
    assert first == second
    assert (second / "file").read_text() == "first"


def test_another_ingredient_is_another_layer(tmp_path: Path) -> None:
    assert ready(tmp_path, layer("a", "b")) != ready(tmp_path, layer("ab"))


def test_a_build_that_fails_leaves_nothing_that_could_be_used(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "file").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        ready(tmp_path, Layer("thing", ("a",), fail))
    assert [file.name for file in tmp_path.iterdir()] == [".lock-thing"]


def test_what_a_killed_build_left_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".building-thing-left").mkdir()
    ready(tmp_path, layer("a"))
    assert not (tmp_path / ".building-thing-left").exists()


def test_old_layers_go_but_not_those_of_other_names(tmp_path: Path) -> None:
    ready(tmp_path, Layer("other", ("a",), lambda folder: None))
    for number in range(KEPT + 2):
        ready(tmp_path, layer(str(number)))
    assert len(list(tmp_path.glob("thing-*"))) == KEPT
    assert len(list(tmp_path.glob("other-*"))) == 1
