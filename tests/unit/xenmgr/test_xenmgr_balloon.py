# SPDX-License-Identifier: GPL-2.0-or-later
"""Who gives memory to a starting VM, and how much."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.ids import Domid
from openxt_xenmgr.vm.balloon import Ballooned, new_targets


def one(domid: int, target: int, least: int) -> Ballooned:
    return Ballooned(Domid(domid), target, least)


@pytest.mark.parametrize(
    ("missing", "others", "targets"),
    [
        (0, [one(1, 100, 50)], {}),
        (30, [one(1, 100, 50)], {1: 70}),
        (50, [one(1, 100, 50), one(2, 100, 50)], {1: 50}),
        (60, [one(1, 100, 50), one(2, 100, 50)], {1: 50, 2: 90}),
        (101, [one(1, 100, 50), one(2, 100, 50)], {}),
        (10, [one(1, 100, 0), one(2, 100, 50)], {2: 90}),
        (10, [one(1, 40, 50), one(2, 100, 50)], {2: 90}),
        (10, [], {}),
    ],
)
def test_the_first_give_first_and_nobody_more_than_it_can(
    missing: int, others: list[Ballooned], targets: dict[int, int]
) -> None:
    assert new_targets(missing, others) == targets


BALLOONED = st.builds(one, st.integers(1, 50), st.integers(0, 1000), st.integers(0, 1000))
MANY = st.lists(BALLOONED, max_size=6, unique_by=lambda found: found.domid)


@given(st.integers(0, 5000), MANY)
def test_exactly_what_is_missing_is_taken_or_nothing(missing: int, others: list[Ballooned]) -> None:
    before = {other.domid: other for other in others}
    targets = new_targets(missing, others)
    taken = sum(before[domid].target_kib - kib for domid, kib in targets.items())
    is_enough = sum(other.spare_kib for other in others) >= missing
    assert taken == (missing if is_enough else 0)
    assert all(kib >= before[domid].least_kib > 0 for domid, kib in targets.items())
