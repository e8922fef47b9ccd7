# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls of one conversation that await their answers.  Pure and bounded.

A reply passes only to an open call, and closes it: whoever makes up a reply reaches nobody.
"""

import enum
from dataclasses import dataclass
from itertools import repeat

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


class OpenCalls:
    """`may_ask` and `may_answer` do for most messages; they take a peer, as their likes for the bus do."""

    __slots__ = ("_budget", "_buses", "_clients", "_most")

    def __init__(self, share: Share) -> None:
        self._budget = share.budget
        self._most = share.budget.limits.open_calls
        self._clients: dict[int, Note | None] = {}
        self._buses: dict[tuple[str, int], None] = {}
        share.open_calls = self._clients

    def may_ask(self, _peer: str, serial: int) -> bool:
        """Open a call of the client; False where `client_asks` would raise."""
        clients, budget = self._clients, self._budget
        if serial in clients or budget.open_calls >= self._most:
            return False
        budget.open_calls += 1
        clients[serial] = None
        return True

    def may_ask_all(self, _peer: str, serials: list[int]) -> bool:
        """All of them, or none."""
        clients, budget = self._clients, self._budget
        fresh: dict[int, Note | None] = dict.fromkeys(serials)
        is_free = len(fresh) == len(serials) and clients.keys().isdisjoint(fresh)
        if not is_free or budget.open_calls + len(fresh) > self._most:
            return False
        budget.open_calls += len(fresh)
        clients.update(fresh)
        return True

    def client_asks(self, serial: int, note: Note | None = None) -> None:
        """`note` comes back with the answer.  Raises LimitsExceeded, and for a serial that is in use."""
        if not self.may_ask("", serial):
            if serial in self._clients:
                raise LimitsExceeded(f"a call with serial {serial} is open already")
            raise LimitsExceeded(self._budget.text("open_calls"))
        self._clients[serial] = note

    def may_answer(self, _peer: str, reply_serial: int) -> bool:
        """Close a call of the client that has no note; False, and nothing is done, for any other."""
        clients = self._clients
        if clients.get(reply_serial, self) is not None:
            return False
        del clients[reply_serial]
        self._budget.open_calls -= 1
        return True

    def may_answer_all(self, _peer: str, reply_serials: list[int]) -> bool:
        """All of them, or none."""
        clients, count = self._clients, len(reply_serials)
        notes = list(map(clients.get, reply_serials, repeat(self)))
        if notes.count(None) < count or len(set(reply_serials)) < count:
            return False
        for serial in reply_serials:
            del clients[serial]
        self._budget.open_calls -= count
        return True

    def bus_answers(self, reply_serial: int) -> tuple[bool, Note | None]:
        """Whether the client awaits this answer, and what was noted."""
        if reply_serial not in self._clients:
            return False, None
        self._budget.open_calls -= 1
        return True, self._clients.pop(reply_serial)

    def bus_asks(self, sender: str, serial: int) -> bool:
        """Of too many the oldest is given up: a guest that never answers must not bar others from asking."""
        if len(self._buses) >= MAX_ASKED:
            del self._buses[next(iter(self._buses))]
        self._buses[sender, serial] = None
        return True

    def bus_asks_all(self, sender: str, serials: list[int]) -> bool:
        return all(self.bus_asks(sender, serial) for serial in serials)

    def client_answers(self, destination: str, reply_serial: int) -> bool:
        """Whether that peer awaits this answer."""
        is_open = (destination, reply_serial) in self._buses
        if is_open:
            del self._buses[destination, reply_serial]
        return is_open

    def client_answers_all(self, destination: str, reply_serials: list[int]) -> bool:
        """All of them, or none."""
        answered = {(destination, serial) for serial in reply_serials}
        if len(answered) < len(reply_serials) or not answered <= self._buses.keys():
            return False
        for one in answered:
            del self._buses[one]
        return True
