# SPDX-License-Identifier: GPL-2.0-or-later
"""Open transactions: whose they are, how many there may be, and when one is given up."""

import asyncio
import itertools
from dataclasses import dataclass
from typing import Final

from openxt_core.errors import Refused
from openxt_dbd.draft import Draft

MAX_OPEN: Final = 8
"""Of one caller."""
MAX_OPEN_IN_ALL: Final = 256
IDLE_S: Final = 60.0


@dataclass
class Open:
    """A transaction that was neither committed nor given up."""

    number: str
    owner: str  # unique bus name
    draft: Draft
    idle: asyncio.TimerHandle


class Transactions:
    """By number; a number is not used again."""

    def __init__(self, idle_s: float = IDLE_S) -> None:
        self._idle_s = idle_s
        self._numbers = map(str, itertools.count(1))
        self._open: dict[str, Open] = {}

    def begin(self, owner: str, draft: Draft) -> str:
        """Its number.  Raises Refused for one too many."""
        mine = sum(1 for one in self._open.values() if one.owner == owner)
        if mine >= MAX_OPEN:
            raise Refused(f"a caller has at most {MAX_OPEN} open transactions: commit or abort one first")
        if len(self._open) >= MAX_OPEN_IN_ALL:
            raise Refused(f"at most {MAX_OPEN_IN_ALL} transactions are open at a time: try again later")
        number = next(self._numbers)
        self._open[number] = Open(number, owner, draft, self._timer(number))
        return number

    def is_open(self, number: str) -> bool:
        return number in self._open

    def find(self, number: str, owner: str) -> Draft | None:
        """Somebody else's are not there.  Being asked for keeps one open."""
        found = self._open.get(number)
        if found is None or found.owner != owner:
            return None
        found.idle.cancel()
        found.idle = self._timer(number)
        return found.draft

    def end(self, number: str) -> None:
        found = self._open.pop(number, None)
        if found is not None:
            found.idle.cancel()

    def end_all_of(self, owner: str) -> None:
        for number in [one.number for one in self._open.values() if one.owner == owner]:
            self.end(number)

    def _timer(self, number: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._idle_s, self.end, number)
