# SPDX-License-Identifier: GPL-2.0-or-later
"""One side of a conversation: a peer at a pipe, how it speaks, and the lane of what comes from it.

`receive` runs for each message of each guest.  With hundreds of conversations a message costs mostly what it
takes to bring their objects into the processor's cache.  So there are few: a side is its lane, and a lane is
what it keeps of verdicts (they inherit where they might own each other); they have slots; and one calls a
method of the next instead of holding a bound one.
"""

from collections.abc import Callable
from typing import Final, Protocol

from openxt_bus.framing import FramingError
from openxt_bus.transport.pipe import Data, Pipe
from openxt_rpcproxy.budget import LimitsExceeded
from openxt_rpcproxy.dialect import Dialect, RawDialect
from openxt_rpcproxy.lane import Judge, Lane, Sink
from openxt_rpcproxy.rules.model import Direction

PAID_AT_ONCE = 8  # messages that are counted together


class Stop:
    """Why a side is not read for now: a sum of these.  Numbers, as sums of flags take a message's time."""

    NOTHING: Final = 0
    FULL: Final = 1  # the other side does not take what is sent
    CHOKED: Final = 2  # nor does it itself
    HELD: Final = 4  # a message waits for something that is being read
    RATE: Final = 8  # the domain sent too many messages
    TURN: Final = 16  # others are next
    OVER: Final = 32


class Keeper(Protocol):
    """Who joins two sides, and is told what is more than passing a message on."""

    def hold(self, side: "Side") -> None:
        """What came there must wait."""
        ...

    def pay(self, side: "Side") -> None:
        """Many messages came there."""
        ...

    def settle(self) -> None:
        """Something is queued or held, or no longer."""
        ...

    def ended(self, why: str) -> None: ...

    def fail(self, error: Exception) -> None: ...


class Peer:
    """Somebody at the other end of a pipe, who takes messages as a dialect has them."""

    def __init__(self, pipe: Pipe, dialect: Dialect) -> None:
        self.pipe = pipe
        self.dialect = dialect
        self.is_raw = isinstance(dialect, RawDialect)
        self.sink: Sink = pipe if self.is_raw else self

    def send(self, messages: Data) -> None:
        data = self.dialect.send(bytes(messages))
        if data:
            self.pipe.send(data)


class Side(Lane):
    """The lane of what comes from one peer for the other."""

    __slots__ = (
        "_keeper", "_out", "_peer", "direction", "is_raw", "is_to_settle", "pipe", "stops", "wait_for_turn",
    )  # fmt: skip

    def __init__(
        self, direction: Direction, peers: tuple[Peer, Peer], judge: Judge, max_size: int, keeper: Keeper
    ) -> None:
        """What comes from the first peer goes to the second, if `judge` lets it."""
        self._peer, other = peers
        super().__init__(judge, other.sink, self._peer.sink.send, max_size)
        self._keeper = keeper
        self._out = other.pipe
        self.pipe = self._peer.pipe
        self.direction = direction
        self.stops: int = Stop.NOTHING
        self.wait_for_turn: Callable[[], None]
        """Nothing but a turn is missing."""
        self.is_to_settle = True
        """Even if nothing is queued."""
        self.is_raw = self._peer.is_raw

    @property
    def dialect(self) -> Dialect:
        return self._peer.dialect

    @property
    def unfinished_bytes(self) -> int:
        return self.held_bytes + self.dialect.held_bytes

    def stop(self, why: int, is_so: bool = True) -> None:
        before = self.stops
        self.stops = before | why if is_so else before & ~why
        if bool(self.stops) is not bool(before):
            (self.pipe.pause if self.stops else self.pipe.resume)()
        if self.stops == Stop.TURN != before:
            self.wait_for_turn()

    def receive(self, data: Data) -> None:
        """What is wrong with the bytes ends the conversation."""
        try:
            if not (self.feed(data) if self.is_raw else self._translate(data)):
                self._keeper.hold(self)
        except (FramingError, LimitsExceeded) as error:
            self._keeper.fail(error)
        self.tell()

    def tell(self) -> None:
        """What came and is queued, to who keeps account of it."""
        if self.unpaid >= PAID_AT_ONCE:
            self._keeper.pay(self)
        if self.is_to_settle or self.held_bytes or self.pipe.queued or self._out.queued:
            self._keeper.settle()

    def drained(self) -> None:
        self._keeper.settle()

    def ended(self, why: str) -> None:
        self._keeper.ended(why)

    def _translate(self, data: Data) -> bool:
        """False: something must be waited for.  Raises FramingError."""
        dialect = self.dialect
        messages = dialect.feed(bytes(data))
        if messages:
            self.feed(messages)
        answers = dialect.take()
        if answers:
            self.pipe.send(answers)
        if dialect.is_over:
            self._keeper.ended("its peer said so")
        return not (self.is_held or self.is_tired or dialect.is_waiting)
