# SPDX-License-Identifier: GPL-2.0-or-later
"""What one domain may use of us and of the bus, however many connections it opens.

A `Budget` counts for a domain, a `Share` what one conversation has of it; when the conversation ends, all of
that goes back.  Messages beyond the rate are not refused: the domain is read more slowly.
"""

import time
from collections.abc import Sized
from dataclasses import dataclass, fields

from openxt_bus.loglimit import LogLimit
from openxt_core.errors import BadRequest, Refused
from openxt_core.ids import DOM0, Domid
from openxt_rpcproxy.rate import Rate
from openxt_rpcproxy.turns import Turns

MIB = 1024 * 1024
MAX_IDLE = 1024  # domains without a conversation whose budgets are kept


class LimitsExceeded(Refused):
    dbus_name = "org.freedesktop.DBus.Error.LimitsExceeded"


@dataclass(frozen=True)
class Limits:
    """Of one domain.  The defaults are ten times what a busy service VM was seen to need."""

    connections: int = 32
    held_bytes: int = 32 * MIB  # messages that are not whole yet, and what was not fetched
    message_bytes: int = 8 * MIB  # one message, either way
    open_calls: int = 2048  # that await answers of the bus
    match_rules: int = 256  # a bus takes 512 of a connection
    names: int = 64
    messages_per_s: int = 10_000
    burst: int = 20_000  # messages at once
    judged_per_s: int = 100  # messages that nothing kept helps to judge, where several come at a time
    judged_burst: int = 1000  # … at once

    def with_words(self, words: tuple[str, ...]) -> "Limits":
        """Each word is NAME=NUMBER.  Raises BadRequest naming what is wrong."""
        known = {field.name.replace("_", "-"): field.name for field in fields(self)}
        values = {name: getattr(self, name) for name in known.values()}
        for word in words:
            name, _, number = word.partition("=")
            if name not in known:
                raise BadRequest(f"limit {word!r}: unknown name; known: {', '.join(known)}")
            if not number.isdecimal() or int(number) == 0:
                raise BadRequest(f"limit {word!r}: a number above 0 is needed")
            values[known[name]] = int(number)
        return Limits(**values)


_HUGE = 2**62
UNLIMITED = Limits(_HUGE, _HUGE, 128 * MIB, _HUGE, _HUGE, _HUGE, _HUGE, _HUGE, _HUGE, _HUGE)


class Budget:
    """Of one domain."""

    __slots__ = (
        "_complaints", "_rate", "connections", "held_bytes", "limits", "lines", "match_rules",
        "names", "open_calls", "turns",
    )  # fmt: skip

    def __init__(self, limits: Limits, now: float = 0.0, whose: str = "") -> None:
        """`whose` it is, for the log."""
        self.limits = limits
        self.connections = self.held_bytes = self.open_calls = self.match_rules = self.names = 0
        self.lines = LogLimit(whose=whose)
        self._complaints: dict[str, LogLimit] = {}
        self._rate = Rate(limits.messages_per_s, limits.burst, now)
        self.turns: Turns | None = None  # of its conversations; none before the first

    def spend(self, messages: int, now: float) -> float:
        """Seconds to wait before more messages are read."""
        return self._rate.spend(messages, now)

    def check(self, what: str, used: int) -> None:
        """Raises LimitsExceeded when all of `what` (a field of Limits) is used."""
        if used >= getattr(self.limits, what):
            raise LimitsExceeded(self.text(what))

    def text(self, what: str) -> str:
        """What is told to who exceeds it."""
        return f"more than {getattr(self.limits, what)} {what.replace('_', ' ')}"

    def may_complain(self, what: str) -> bool:
        """Whether the log may be told now that this limit was met: once in a while for each limit."""
        return self._complaints.setdefault(what, LogLimit(burst=1, period_s=60.0)).may_log()


class Share:
    """What one conversation has of its domain's budget."""

    __slots__ = ("_names", "budget", "held_bytes", "match_rules", "open_calls")

    def __init__(self, budget: Budget) -> None:
        """Raises LimitsExceeded when the domain has too many conversations."""
        budget.check("connections", budget.connections)
        budget.connections += 1
        self.budget = budget
        self.held_bytes = self.match_rules = 0
        self.open_calls: Sized = ()
        """That await answers; kept, and counted for the budget, by `calls`."""
        self._names: set[str] = set()

    def hold(self, held_bytes: int) -> bool:
        """So many bytes are held now.  False when that is too much for the domain."""
        self.budget.held_bytes += held_bytes - self.held_bytes
        self.held_bytes = held_bytes
        return self.budget.held_bytes <= self.budget.limits.held_bytes

    def add_match(self) -> None:
        """Raises LimitsExceeded."""
        self.budget.check("match_rules", self.budget.match_rules)
        self.match_rules += 1
        self.budget.match_rules += 1

    def remove_match(self) -> None:
        if self.match_rules:
            self.match_rules -= 1
            self.budget.match_rules -= 1

    def add_name(self, name: str) -> None:
        """Raises LimitsExceeded; asking for the same name again costs nothing."""
        if name not in self._names:
            self.budget.check("names", self.budget.names)
            self._names.add(name)
            self.budget.names += 1

    def remove_name(self, name: str) -> None:
        if name in self._names:
            self._names.remove(name)
            self.budget.names -= 1

    def end(self) -> None:
        """The conversation is over: everything goes back."""
        budget = self.budget
        budget.connections -= 1
        budget.held_bytes -= self.held_bytes
        budget.open_calls -= len(self.open_calls)
        budget.match_rules -= self.match_rules
        budget.names -= len(self._names)


class Budgets:
    """Every domain's; dom0 has no limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._of: dict[Domid, Budget] = {}

    def of(self, domid: Domid) -> Budget:
        """The domain's; kept for a while when it has no conversations, as its rate and log go on."""
        budget = self._of.pop(domid, None)
        if budget is None:
            limits = UNLIMITED if domid == DOM0 else self._limits
            budget = Budget(limits, time.monotonic(), f"domain {domid}")
            if len(self._of) > MAX_IDLE:
                self._forget_idle()
        self._of[domid] = budget
        return budget

    def _forget_idle(self) -> None:
        self._of = {domid: one for domid, one in self._of.items() if one.connections}
