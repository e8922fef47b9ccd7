# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read from the bus's socket, and answered there and then where it can be.

The twin of native/quick/receiver.c, which is used where it was built.
"""

import os
from collections.abc import Callable, Sized
from typing import Final

from openxt_bus.plans import MAX_SERIAL, Plan, answer

READ_SIZE: Final = 64 * 1024  # larger ones would be mapped and unmapped by malloc at each read


class Receiver:
    """Reads from a socket, and answers there at once what `plans` can answer, unless something is `waiting`
    to be sent before.

    What is not done with that is told `otherwise(came, left)`: what came, if it is for others (b"" is the
    end), or what the socket did not take of an answer.  Neither: nothing was read, as it `is_held` or fails.
    """

    __slots__ = ("_fd", "_otherwise", "_waiting", "is_held", "plans", "serial")

    def __init__(
        self, fd: int, waiting: Sized, otherwise: Callable[[bytes | None, bytes | None], object]
    ) -> None:
        self._fd, self._waiting, self._otherwise = fd, waiting, otherwise
        self.plans: dict[bytes, Plan] = {}
        self.serial = 0
        """Of the last message that was sent."""
        self.is_held = False

    def next_serial(self) -> int:
        """For a message that is about to be sent."""
        self.serial = self.serial % MAX_SERIAL + 1
        return self.serial

    def readable(self) -> None:
        """Read once."""
        try:
            data = None if self.is_held else os.read(self._fd, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # who reads again finds out why
            data = None
        made = answer(self.plans, data, self.next_serial()) if data is not None else None
        if made is None:
            self._otherwise(data, None)
        elif left := self._left_of(made):
            self._otherwise(None, left)

    def _left_of(self, made: bytes) -> bytes:
        """Send it; what did not leave."""
        if self._waiting or not made:
            return made
        try:
            return made[os.write(self._fd, made) :]
        except OSError:
            return made  # who sends it again finds out why
