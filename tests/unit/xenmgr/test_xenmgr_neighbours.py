# SPDX-License-Identifier: GPL-2.0-or-later
"""Which graphics cards stand beside which."""

import pytest

from openxt_xenmgr.vm.neighbours import beside

PLACES = {"hdx": 1, "a": 0, "b": 3, "c": 2, "d": 1}


@pytest.mark.parametrize(
    ("own", "left", "right"),
    [
        ("hdx", ["a"], ["c", "b"]),
        ("a", [], ["hdx", "d", "c", "b"]),
        ("b", ["c", "hdx", "d", "a"], []),
        ("gone", [], []),
    ],
)
def test_the_nearest_on_each_side_comes_first_and_one_in_the_same_place_is_on_neither(
    own: str, left: list[str], right: list[str]
) -> None:
    assert beside(own, PLACES, left=True) == left
    assert beside(own, PLACES, left=False) == right
