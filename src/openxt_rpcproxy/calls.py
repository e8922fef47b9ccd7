# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls of one conversation that await their answers.  Pure and bounded.

A reply passes only to an open call, and closes it: whoever makes up a reply reaches nobody.
"""

import enum
from dataclasses import dataclass
from itertools import repeat
from typing import Protocol

from openxt_rpcproxy.budget import LimitsExceeded, Share

MAX_ASKED = 1024  # by others of the client, per conversation


class About(enum.Enum):
    """What an answer will change."""

    OWNER = enum.auto()
    MATCH = enum.auto()
    UNMATCH = enum.auto()
    NAME = enum.auto()
    UNNAME = enum.auto()


@dataclass(frozen=True, slots=True)
class Note:
    """Kept with a call until its answer comes."""

    about: About
    name: str = ""


class Calls(Protocol):
    """Of one of the two, that the other may answer: for messages whose likes were looked at before."""

    def may_ask(self, peer: str, serial: int) -> bool:
        """Open a call to or from that peer; False: look at it."""
        ...

    def may_answer(self, peer: str, reply_serial: int) -> bool:
        """Close that peer's call, or the call to it; False, and nothing is done: look at it."""
        ...

    def may_ask_all(self, peer: str, serials: list[int]) -> bool:
        """`may_ask` for several: all of them, or none."""
        ...

    def may_answer_all(self, peer: str, reply_serials: list[int]) -> bool:
        """`may_answer` for several: all of them, or none."""
        ...


class ClientCalls:
    """What the client asks; whom, does not matter."""

    __slots__ = ("_budget", "_most", "_open")

    def __init__(self, share: Share) -> None:
        self._budget = share.budget
        self._most = share.budget.limits.open_calls
        self._open: dict[int, Note | None] = {}
        share.open_calls = self._open

    def may_ask(self, _peer: str, serial: int) -> bool:
        """False where `ask` would raise."""
        calls, budget = self._open, self._budget
        if serial in calls or budget.open_calls >= self._most:
            return False
        budget.open_calls += 1
        calls[serial] = None
        return True

    def may_ask_all(self, _peer: str, serials: list[int]) -> bool:
        calls, budget = self._open, self._budget
        fresh: dict[int, Note | None] = dict.fromkeys(serials)
        is_free = len(fresh) == len(serials) and calls.keys().isdisjoint(fresh)
        if not is_free or budget.open_calls + len(fresh) > self._most:
            return False
        budget.open_calls += len(fresh)
        calls.update(fresh)
        return True

    def ask(self, serial: int, note: Note | None = None) -> None:
        """`note` comes back with the answer.  Raises LimitsExceeded, and for a serial that is in use."""
        if not self.may_ask("", serial):
            if serial in self._open:
                raise LimitsExceeded(f"a call with serial {serial} is open already")
            raise LimitsExceeded(self._budget.text("open_calls"))
        self._open[serial] = note

    def may_answer(self, _peer: str, reply_serial: int) -> bool:
        """False for a call with a note, too."""
        calls = self._open
        if calls.get(reply_serial, self) is not None:
            return False
        del calls[reply_serial]
        self._budget.open_calls -= 1
        return True

    def may_answer_all(self, _peer: str, reply_serials: list[int]) -> bool:
        calls, count = self._open, len(reply_serials)
        notes = list(map(calls.get, reply_serials, repeat(self)))
        if notes.count(None) < count or len(set(reply_serials)) < count:
            return False
        for serial in reply_serials:
            del calls[serial]
        self._budget.open_calls -= count
        return True

    def answer(self, reply_serial: int) -> tuple[bool, Note | None]:
        """Whether the client awaits this answer, and what was noted."""
        if reply_serial not in self._open:
            return False, None
        self._budget.open_calls -= 1
        return True, self._open.pop(reply_serial)


class BusCalls:
    """What others on the bus ask the client: a peer is who asks."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], None] = {}

    def may_ask(self, peer: str, serial: int) -> bool:
        """Of too many the oldest is given up: a guest that never answers must not bar others from asking."""
        if len(self._open) >= MAX_ASKED:
            del self._open[next(iter(self._open))]
        self._open[peer, serial] = None
        return True

    def may_ask_all(self, peer: str, serials: list[int]) -> bool:
        return all(self.may_ask(peer, serial) for serial in serials)

    def may_answer(self, peer: str, reply_serial: int) -> bool:
        is_open = (peer, reply_serial) in self._open
        if is_open:
            del self._open[peer, reply_serial]
        return is_open

    def may_answer_all(self, peer: str, reply_serials: list[int]) -> bool:
        answered = {(peer, serial) for serial in reply_serials}
        if len(answered) < len(reply_serials) or not answered <= self._open.keys():
            return False
        for one in answered:
            del self._open[one]
        return True
