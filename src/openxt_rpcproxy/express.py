# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages whose like was judged before: the same header bytes, the same verdict.  Pure and bounded.

What is kept stands for a message by everything in its header but its serial, its body's length and, for an
answer, the four bytes of the serial that it answers, at the place where they were found.  So a message that
is found here would be read exactly like the one that was judged.  Only verdicts that look at nothing else,
and only messages that pass unchanged, are kept; all are forgotten when rules, VMs or names change.
Source: D-Bus specification 1.0, "Message Format".
"""

import enum
import functools
from dataclasses import dataclass
from struct import Struct

from openxt_bus.framing import FIXED_HEADER, field_places

MAX_KEPT = 1024
MAX_PLACES = 4
LONG = 1024  # bytes
_REPLY_SERIAL = 5
LITTLE_MARK, BIG_MARK = 0x6C, 0x42
HEADS = {LITTLE_MARK: Struct("<BBBBIII").unpack_from, BIG_MARK: Struct(">BBBBIII").unpack_from}
"""Byte order mark → byte order, type, flags, version, size of body, serial, size of fields."""

NUMBERS = {LITTLE_MARK: Struct("<I").unpack_from, BIG_MARK: Struct(">I").unpack_from}

LITTLE = Struct("<IIII").unpack_from
"""Of a little-endian message: its first four bytes as a number, size of body, serial, size of fields."""

BIG = Struct(">III").unpack_from
"""The last three of these, four bytes into a big-endian message."""

_TAIL = 12  # from where on a header is kept: the size of its fields, and these


class Manner(enum.IntEnum):
    """What is left to do for a message that passes."""

    PASSES = 0
    ASKS = 1  # its serial is noted
    ANSWERS = 2  # it must answer an open call


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is to be done for each message like the one that gets this."""

    manner: Manner
    peer: str = ""  # whom a call or an answer concerns: needed to tell calls of different callers apart


@dataclass(frozen=True, slots=True)
class Kept:
    """For a header, by what follows its serial."""

    first: int  # byte order, type, flags and version, as LITTLE has them
    manner: int
    peer: str
    place: int
    """Where an answer has the serial that it answers, which is left out of what it is kept by; else 0."""


# What many conversations keep alike is there once: with hundreds of them, what a message costs most is to
# bring what is kept into the processor's cache.
_kept = functools.lru_cache(MAX_KEPT)(Kept)


@functools.lru_cache(MAX_KEPT)
def _same(tail: bytes) -> bytes:
    """One object for all that are equal."""
    return tail


class Express:
    """Of one direction of one conversation."""

    __slots__ = ("heeded", "known", "places")

    def __init__(self) -> None:
        self.known: dict[bytes, Kept] = {}
        self.places: tuple[int, ...] = ()
        """Where answers had the serials that they answer."""
        self.heeded = -1  # epoch

    def heed(self, epoch: int) -> None:
        """Forget everything if that is another one than last time."""
        if epoch != self.heeded:
            self.heeded = epoch
            self.clear()

    def clear(self) -> None:
        self.known.clear()
        self.places = ()

    def keep(self, message: bytes, ticket: Ticket) -> None:
        """`message` was read without error, and its verdict needs nothing else than its header."""
        if len(self.known) >= MAX_KEPT:
            self.clear()
        tail, place = message[_TAIL : FIXED_HEADER + HEADS[message[0]](message, 0)[6]], 0
        if ticket.manner is Manner.ANSWERS:
            place = field_places(message)[_REPLY_SERIAL] - _TAIL
            if place not in self.places:
                if len(self.places) >= MAX_PLACES:
                    return
                self.places += (place,)
            tail = tail[:place] + tail[place + 4 :]
        kept = _kept(LITTLE(message)[0], int(ticket.manner), ticket.peer, place)
        self.known[_same(tail) if len(tail) <= LONG else tail] = kept
