# SPDX-License-Identifier: GPL-2.0-or-later
"""Two pipes, one lane each way, until either side ends.

Backpressure: who does not read is not read for.  What the client does not fetch stops the reading of its bus
connection, what the bus does not take stops the reading of the client; nobody else's conversation is touched.
Messages beyond the domain's rate, and what it has in our memory beyond its budget, are its own loss too.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Callable

from openxt_bus.framing import FramingError
from openxt_bus.transport.pipe import Pipe
from openxt_core.ids import DOM0
from openxt_rpcproxy.budget import LimitsExceeded, Share
from openxt_rpcproxy.dialect import Dialect
from openxt_rpcproxy.passage import Passage
from openxt_rpcproxy.rate import Rate
from openxt_rpcproxy.rules.model import Direction
from openxt_rpcproxy.side import Peer, Side, Stop
from openxt_rpcproxy.turns import Turns

log = logging.getLogger(__name__)

FULL = 256 * 1024  # bytes queued: the other side is not read any more …
LOW = 64 * 1024  # … until so few are left
CHOKED = 1024 * 1024  # our own answers are not fetched either: who causes them is not read
HELLO_TIMEOUT_S = 30.0
MESSAGE_TIMEOUT_S = 60.0  # from the first byte of a message to its last


class Relay:
    __slots__ = (
        "_bus", "_client", "_done", "_loop", "_paid", "_passage", "_share", "_tasks", "_timers",
    )  # fmt: skip

    def __init__(
        self, client: tuple[Pipe, Dialect], bus: tuple[Pipe, Dialect], passage: Passage, share: Share
    ) -> None:
        max_size = share.budget.limits.message_bytes
        here, there = Peer(*client), Peer(*bus)
        self._client = Side(Direction.INCOMING, (here, there), passage.incoming(), max_size, self)
        self._bus = Side(Direction.OUTGOING, (there, here), passage.outgoing(), max_size, self)
        self._passage = passage
        self._share = share
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._paid = 0  # messages that the domain's rate has been charged with
        self._take_turns(share)

    def _take_turns(self, share: Share) -> None:
        """Among those of the domain; of dom0, which is nobody's enemy, each has turns of its own."""
        limits = share.budget.limits
        turns = share.budget.turns or Turns(self._loop, Rate(limits.judged_per_s, limits.judged_burst, 0.0))
        sides = self._client, self._bus
        if self._passage.domid != DOM0:
            share.budget.turns = turns
            for side in sides:
                side.pipe.pace = turns.pace
        for side in sides:
            go_on = functools.partial(self._go_on_in_turn, side)
            side.wait_for_turn = functools.partial(self._wait_for_turn, turns, side, go_on)

    async def run(self) -> None:
        """Returns when a side ends; raises FramingError, LimitsExceeded or TimeoutError when we end it."""
        self._later("hello", HELLO_TIMEOUT_S, self._hello_is_late)
        self._passage.greeted = self._greeted
        try:
            self._bus.pipe.start(self._bus)
            self._client.pipe.start(self._client)
            await self._done
        finally:
            for timer in self._timers.values():
                timer.cancel()
            for task in self._tasks:
                task.cancel()
            self._client.stop(Stop.OVER)
            self._bus.stop(Stop.OVER)

    def settle(self) -> None:
        """Look at what is queued: who is read, and whether it is too much."""
        client, bus, share = self._client, self._bus, self._share
        waiting, sending, unfinished = client.pipe.queued, bus.pipe.queued, client.unfinished_bytes
        held = waiting + sending + unfinished + bus.unfinished_bytes
        client.is_to_settle = bus.is_to_settle = held > 0 or not (client.is_raw and bus.is_raw)
        if held == share.held_bytes:
            return None
        if not share.hold(held):
            return self.fail(LimitsExceeded(share.budget.text("held_bytes")))
        if waiting > FULL and share.budget.may_complain("waiting"):
            text = f"{waiting} bytes wait until it reads; nothing more is read for it"
            log.warning("LIMIT domain %d: %s", self._passage.domid, text)
        for side, other, queued in ((bus, client, waiting), (client, bus, sending)):
            if queued > FULL or (queued < LOW and side.stops & Stop.FULL):
                side.stop(Stop.FULL, queued > FULL)
            if queued > CHOKED or (queued < LOW and other.stops & Stop.CHOKED):
                other.stop(Stop.CHOKED, queued > CHOKED)
        if unfinished and not client.stops & (Stop.HELD | Stop.TURN) and "message" not in self._timers:
            self._watch_message()  # what is held is looked at again when it goes on
        return None

    # What takes time

    def hold(self, side: Side) -> None:
        """Read no more from that side until what it waits for is there."""
        if side.is_tired:
            side.stop(Stop.TURN)
        elif not side.stops & Stop.HELD:
            side.stop(Stop.HELD)
            task = self._loop.create_task(self._wait_for(side))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _wait_for(self, side: Side) -> None:
        try:
            if side.is_held:
                await self._passage.prepare(side.waiting, side.direction)
            else:
                await side.dialect.settle()
        except Exception as error:  # noqa: BLE001  (whatever it is, it ends this conversation and is told there)
            return self.fail(error)
        self._loop.call_soon(self._go_on, side)
        return None

    def _go_on(self, side: Side) -> None:
        if self._done.done():
            return None
        side.stop(Stop.HELD, False)
        try:
            if side.is_held:
                side.go_on()
        except FramingError as error:
            return self.fail(error)
        side.receive(b"")
        return None

    def _wait_for_turn(self, turns: Turns, side: Side, go_on: Callable[[], None]) -> None:
        """A client's turns are counted, unless no verdict is kept anyway; the bus sends for nothing."""
        turns.wait(go_on, is_free=side is self._bus or not self._passage.keeps_verdicts)
        if turns.is_paused:
            self._tell_slow("judged_per_s")

    def _go_on_in_turn(self, side: Side) -> None:
        if self._done.done() or side.stops != Stop.TURN:
            return None  # it comes again when that stop is over
        try:
            side.go_on()
        except FramingError as error:
            return self.fail(error)
        if side.is_tired:
            side.wait_for_turn()
            side.tell()
        else:
            side.stop(Stop.TURN, False)
            side.receive(b"")
        return None

    def pay(self, side: Side) -> None:
        """The domain's rate is charged with what its client sends; the bus sends for nothing."""
        count, side.unpaid = side.unpaid, 0
        if side is self._client:
            self._paid += count
            self._wait_if_too_fast(self._share.budget.spend(count, time.monotonic()))

    def _wait_if_too_fast(self, wait_s: float) -> None:
        if wait_s:
            self._tell_slow("messages_per_s")
            self._client.stop(Stop.RATE)
            self._later("rate", wait_s, lambda: self._client.stop(Stop.RATE, False))

    def _tell_slow(self, what: str) -> None:
        budget = self._share.budget
        if budget.may_complain(what):
            text = budget.text(what)
            log.warning("LIMIT domain %d: %s; it is read more slowly", self._passage.domid, text)

    @property
    def _seen(self) -> int:
        """Messages of the client so far."""
        return self._paid + self._client.unpaid

    def _watch_message(self) -> None:
        """A message that has begun must come to its end."""
        seen = self._seen
        self._later("message", MESSAGE_TIMEOUT_S, lambda: self._message_is_late(seen))

    def _message_is_late(self, seen: int) -> None:
        del self._timers["message"]
        client = self._client
        if client.unfinished_bytes and self._seen == seen and not client.stops:
            self.fail(TimeoutError("half a message, and no more"))
        elif client.unfinished_bytes:
            self._watch_message()

    def _greeted(self) -> None:
        """A loop without timers waits for less, so it gets a turn to see that there are none."""
        self._timers.pop("hello").cancel()
        self._loop.call_soon(int)

    def _hello_is_late(self) -> None:
        self.fail(TimeoutError("no Hello, or no answer to it"))

    def _later(self, name: str, after_s: float, work: Callable[[], None]) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = self._loop.call_later(after_s, work)

    # The end

    def ended(self, why: str) -> None:
        log.debug("a conversation of domain %d ended: %s", self._passage.domid, why)
        if self._client.unfinished_bytes and not self._client.stops:
            self.fail(FramingError(f"{why}, in the middle of a message"))
        if not self._done.done():
            self._done.set_result(None)

    def fail(self, error: Exception) -> None:
        self._client.stop(Stop.OVER)
        if not self._done.done():
            self._done.set_exception(error)
