# SPDX-License-Identifier: GPL-2.0-or-later
"""Going into the background the way init scripts expect: the command returns when calls are answered."""

import os
import sys


class Background:
    """The detached process's line to the command that started it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def ready(self) -> None:
        """The command ends with exit status 0, and the terminal is let go."""
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)
        os.write(self._fd, b"1")
        os.close(self._fd)


def leave_foreground() -> Background:
    """Returns in a process of its own session.  The calling process waits, and never returns."""
    ours, theirs = os.pipe()
    if os.fork():
        os.close(theirs)
        sys.stdout.flush()
        os._exit(0 if os.read(ours, 1) else 1)
    os.close(ours)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    return Background(theirs)
