# SPDX-License-Identifier: GPL-2.0-or-later
"""Until when a verdict holds.  Pure; one for all conversations, as it costs each message a look."""


class Epoch:
    """The time in which no rule and no property of a VM changes: verdicts hold as long as it lasts."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0

    def end(self) -> None:
        self.number += 1
