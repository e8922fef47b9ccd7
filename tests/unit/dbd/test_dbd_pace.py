# SPDX-License-Identifier: GPL-2.0-or-later
"""Which unsaved units a save takes."""

from openxt_dbd.pace import BURST_S, FILES, LARGE_BYTES, SMALL_BYTES, Pace
from openxt_dbd.placement import Unit

FULL = 1024 * 1024
MOST_BYTES = int(BURST_S * LARGE_BYTES)
MOST_FILES = int(BURST_S * FILES)
UNITS = [Unit("dom-store", f"{number}") for number in range(10 * MOST_FILES)]


def sizes(size: int) -> dict[Unit, int]:
    return dict.fromkeys(UNITS, size)


def test_so_many_small_units_and_new_ones_are_due_at_once() -> None:
    few = UNITS[:MOST_FILES]
    assert Pace().due(few, sizes(SMALL_BYTES), 0.0) == few
    assert Pace().due(few, {}, 0.0) == few


def test_more_small_units_take_turns() -> None:
    pace, waiting, turns = Pace(), UNITS, 0
    while waiting:
        due = pace.due(waiting, sizes(SMALL_BYTES), 3.0)
        assert due == waiting[: len(due)]
        waiting, turns = waiting[len(due) :], turns + 1
    assert turns == 10


def test_large_units_take_turns_at_the_rate() -> None:
    pace, waiting, saved_bytes = Pace(), UNITS, 0
    for _ in range(100):
        due = pace.due(waiting, sizes(FULL), 3.0)
        assert due == waiting[: len(due)]
        waiting = waiting[len(due) :] + due  # all change again at once
        saved_bytes += len(due) * FULL
    assert 100 * 3.0 * LARGE_BYTES - FULL <= saved_bytes <= MOST_BYTES + 100 * 3.0 * LARGE_BYTES + FULL


def test_a_lone_large_unit_is_due_each_time() -> None:
    pace = Pace()
    for _ in range(10):
        assert pace.due(UNITS[:1], sizes(FULL), 3.0) == UNITS[:1]


def test_after_one_larger_than_its_share_the_next_ones_wait_for_it() -> None:
    pace, huge = Pace(), {UNITS[0]: 10 * MOST_BYTES}
    assert pace.due(UNITS[:1], huge, 3.0) == UNITS[:1]
    turns = [len(pace.due(UNITS[:1], huge, 3.0)) for _ in range(11)]
    assert sum(turns) == 1


def test_small_and_large_units_do_not_wait_for_each_other() -> None:
    large, small = UNITS[: len(UNITS) // 2], UNITS[len(UNITS) // 2 :]
    mixed = {**sizes(FULL), **dict.fromkeys(small, SMALL_BYTES)}
    due = Pace().due(UNITS, mixed, 3.0)
    assert set(due) & set(small)
    assert set(due) & set(large)


def test_a_long_rest_saves_up_no_more_than_one_share() -> None:
    assert len(Pace().due(UNITS, sizes(FULL), 3600.0)) <= MOST_BYTES // FULL + 1
