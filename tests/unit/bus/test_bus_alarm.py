# SPDX-License-Identifier: GPL-2.0-or-later
"""An alarm goes off when its time has come, once, and not before."""

import errno
import os
import select
import time
from collections.abc import Iterator

import pytest

from openxt_bus.alarm import Alarm


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    alarm = Alarm()
    yield alarm
    alarm.close()


def is_readable(alarm: Alarm, timeout_s: float) -> bool:
    return bool(select.select([alarm], [], [], timeout_s)[0])


def test_it_goes_off_at_its_time_and_not_before(alarm: Alarm) -> None:
    due_s = time.monotonic() + 0.02
    alarm.set(due_s)
    assert is_readable(alarm, 20.0)
    assert time.monotonic() >= due_s


def test_a_time_that_is_over_is_told_at_once(alarm: Alarm) -> None:
    for due_s in (0.0, time.monotonic() - 1.0):
        alarm.set(due_s)
        assert is_readable(alarm, 20.0)


def test_what_is_set_last_counts(alarm: Alarm) -> None:
    alarm.set(0.0)
    alarm.set(time.monotonic() + 3600.0)
    assert not is_readable(alarm, 0.0)


def test_what_the_system_refuses_is_raised() -> None:
    alarm = Alarm()
    alarm.close()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        alarm.set(0.0)
