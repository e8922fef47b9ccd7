# SPDX-License-Identifier: GPL-2.0-or-later
"""A descriptor that tells of itself when a time has come: Linux's timerfd, which Python has from 3.13 on.

For who waits for input again and again until a time that stays the same: each wait with a time-out of its own
sets a timer of the kernel, and takes it back when input comes first.
"""

import ctypes
import os
import time
from typing import Final

_ABSOLUTE: Final = 1  # TFD_TIMER_ABSTIME
_libc: Final = ctypes.CDLL(None, use_errno=True)
_Times: Final = ctypes.c_long * 4
"""struct itimerspec: seconds and nanoseconds of the interval (none), then of the time."""


class Alarm:
    """Raises OSError where none can be had."""

    def __init__(self) -> None:
        flags = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK and TFD_CLOEXEC are the same bits
        self._fd = _checked(_libc.timerfd_create(time.CLOCK_MONOTONIC, flags))

    def fileno(self) -> int:
        return self._fd

    def set(self, due_s: float) -> None:
        """Readable from this moment of `time.monotonic` on, whatever was set before."""
        seconds, nanoseconds = divmod(int(due_s * 1e9) + 1, 10**9)  # not before; 0 would mean none
        # Sound: the kernel has read the four numbers when it returns.
        _checked(_libc.timerfd_settime(self._fd, _ABSOLUTE, _Times(0, 0, seconds, nanoseconds), None))

    def close(self) -> None:
        os.close(self._fd)


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
