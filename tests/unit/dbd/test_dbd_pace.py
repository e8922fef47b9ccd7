# SPDX-License-Identifier: GPL-2.0-or-later
"""Which unsaved units a save takes."""

from openxt_dbd.pace import BURST_BYTES, RATE_BYTES, SMALL_BYTES, Pace
from openxt_dbd.placement import Unit

FULL = 1024 * 1024
UNITS = [Unit("dom-store", f"{number}") for number in range(100)]


def sizes(size: int) -> dict[Unit, int]:
    return dict.fromkeys(UNITS, size)


def test_small_units_and_new_ones_are_always_due() -> None:
    pace = Pace()
    assert pace.due(UNITS, sizes(SMALL_BYTES), 0.0) == UNITS
    assert pace.due(UNITS, {}, 0.0) == UNITS


def test_large_units_take_turns_at_the_rate() -> None:
    pace, waiting, saved_bytes = Pace(), list(UNITS), 0
    for _ in range(100):
        due = pace.due(waiting, sizes(FULL), 3.0)
        assert due == waiting[: len(due)]
        waiting = [unit for unit in waiting if unit not in due] + due  # all change again at once
        saved_bytes += len(due) * FULL
    assert saved_bytes <= BURST_BYTES + 100 * 3.0 * RATE_BYTES + FULL
    assert saved_bytes >= 100 * 3.0 * RATE_BYTES - FULL


def test_a_lone_large_unit_is_due_each_time() -> None:
    pace = Pace()
    for _ in range(10):
        assert pace.due(UNITS[:1], sizes(FULL), 3.0) == UNITS[:1]


def test_after_one_larger_than_its_share_the_next_ones_wait_for_it() -> None:
    pace, huge = Pace(), {UNITS[0]: 10 * BURST_BYTES}
    assert pace.due(UNITS[:1], huge, 3.0) == UNITS[:1]
    turns = [len(pace.due(UNITS[:1], huge, 3.0)) for _ in range(11)]
    assert sum(turns) == 1


def test_small_units_do_not_wait_for_large_ones() -> None:
    pace, mixed = Pace(), {**sizes(FULL), UNITS[-1]: SMALL_BYTES}
    assert UNITS[-1] in pace.due(UNITS, mixed, 3.0)


def test_a_long_rest_saves_up_no_more_than_one_share() -> None:
    pace = Pace()
    assert len(pace.due(UNITS, sizes(FULL), 3600.0)) <= BURST_BYTES // FULL + 1
