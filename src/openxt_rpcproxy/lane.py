# SPDX-License-Identifier: GPL-2.0-or-later
"""One direction of a conversation: bytes are cut into messages, and each is judged.

Messages in a row that pass unchanged are sent on as they came; those whose like was judged before are not
even taken apart.  A message that is larger than allowed is answered and its bytes are passed over.  No I/O:
what goes on is handed to a function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from openxt_bus.framing import FIXED_HEADER, MAX_FIELDS, FramingError, Header, scan
from openxt_bus.transport.pipe import Data
from openxt_rpcproxy.calls import Calls
from openxt_rpcproxy.epoch import Epoch
from openxt_rpcproxy.express import BIG, BIG_MARK, HEADS, LITTLE, NUMBERS, Express, Kept
from openxt_rpcproxy.passed import Passed
from openxt_rpcproxy.rows import HEAD, LEAST, answered, serials

JUDGED_AT_ONCE = 1
JUDGING = 4  # what judging a message costs, in messages that pass as their likes were judged before
MAX_SIZE = 128 * 1024 * 1024 + MAX_FIELDS  # the protocol's own limit
_NOT_ANSWERS = frozenset({1, 4})  # calls and signals


@dataclass(frozen=True, slots=True)
class Judge:
    """What becomes of the messages of one direction."""

    epoch: Epoch
    """When it ends, a verdict may be another one."""

    judge: Callable[[bytes], Passed | None]
    """None: it cannot be told yet."""

    too_large: Callable[[Header, int], Passed]
    """What follows from a message of so many bytes, which is not read."""

    asked: Calls
    """What those who send here ask."""

    answered: Calls
    """What they answer."""


class Sink(Protocol):
    def send(self, data: Data, /) -> None:
        """Take whole messages."""
        ...


class Lane(Express):
    __slots__ = (
        "_answered", "_asked", "_back", "_epoch", "_judge", "_max_size", "_needed", "_on", "_rest", "_skip",
        "held_bytes", "is_held", "is_tired", "unpaid",
    )  # fmt: skip

    def __init__(self, judge: Judge, on: Sink, back: Callable[[bytes], None], max_size: int) -> None:
        """`on` and `back` take whole messages, for the other side and for the one they came from."""
        super().__init__()
        self._judge = judge
        self._epoch, self._asked, self._answered = judge.epoch, judge.asked, judge.answered
        self._on = on
        self._back = back
        self._max_size = max_size
        self._rest = bytearray()
        self._needed = FIXED_HEADER
        self._skip = 0
        self.unpaid = 0
        """Messages seen since somebody put it back to 0; one that had to be judged counts as several, for it
        costs as much."""
        self.is_held = False
        """A message waits for something; call `go_on` when that has come."""
        self.is_tired = False
        """So many messages had to be judged that others are next; call `go_on` then."""
        self.held_bytes = 0
        """Of messages that are not whole yet, or wait."""

    @property
    def waiting(self) -> bytes:
        """The message that cannot be judged yet."""
        return bytes(self._rest[: self._needed])

    def feed(self, data: Data) -> bool:
        """False: messages wait.  Raises FramingError for what is no message: the stream cannot go on."""
        if self.held_bytes or self._skip:
            data = self._together(data)
        if data:
            at = self._known_until(data, 0)
            if at == len(data) and not self.held_bytes:
                self._on.send(data)
            else:
                self._work(data, at)
        return not (self.is_held or self.is_tired)

    def _known_until(self, data: Data, at: int) -> int:
        """Where the messages end that pass unchanged, as their likes were judged before, and are whole.

        The hot path: what is done for each message is written out here.
        """
        if self.heeded != self._epoch.number:
            self.heed(self._epoch.number)
        known, end = self.known, len(data)
        while at + FIXED_HEADER <= end:
            first, body, serial, fields = LITTLE(data, at)
            if first & 0xFF == BIG_MARK:
                body, serial, fields = BIG(data, at + 4)
            stop = at + (FIXED_HEADER + fields + 7 & ~7) + body
            if stop > end or serial == 0 or stop - at > self._max_size:
                break
            part = data[at + 12 : at + FIXED_HEADER + fields]
            tail = part if isinstance(part, bytes) else bytes(part)
            if first >> 8 & 0xFF in _NOT_ANSWERS:
                place = 0
                kept = known.get(tail)
                if kept is None or kept.first != first:
                    break
                if kept.manner and not self._asked.may_ask(kept.peer, serial):
                    break
            else:
                for place in self.places:
                    kept = known.get(tail[:place] + tail[place + 4 :])
                    if kept is not None and kept.place == place:
                        break
                else:
                    break
                if kept.first != first:
                    break  # before its mark is believed
                if not self._answered.may_answer(kept.peer, NUMBERS[first & 0xFF](tail, place)[0]):
                    break
            self.unpaid += 1
            size, at = stop - at, stop
            if end - at >= LEAST * size and data[at : at + HEAD] == data[at - size : at - size + HEAD]:
                at += size * self._row(data, at, size, tail, place, kept)
        return at

    def _row(self, data: Data, at: int, size: int, tail: bytes, place: int, kept: Kept) -> int:
        """How many messages from `at` on pass like the one before them, which was `kept` under its tail."""
        if place:
            numbers = answered(data, at, size, tail, place)
            passes = bool(numbers) and self._answered.may_answer_all(kept.peer, numbers)
        else:
            numbers = serials(data, at, size, tail)
            passes = bool(numbers) and (not kept.manner or self._asked.may_ask_all(kept.peer, numbers))
        if not passes:
            return 0
        self.unpaid += len(numbers)
        return len(numbers)

    def _together(self, data: Data) -> Data:
        """The data with what waits for it; empty while that is not enough."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            return data[skipped:]
        self._rest += data
        self.held_bytes = len(self._rest)
        return b"" if self.is_held or self.is_tired or self.held_bytes < self._needed else self._rest

    def go_on(self) -> None:
        """Judge what waits.  Raises FramingError."""
        self.is_held = self.is_tired = False
        self._work(self._rest, 0)

    def _work(self, data: Data, at: int) -> None:
        """Messages that need a look, the first one at `at`; those before it go on, also if it is none."""
        pieces: list[Data] = []
        start = 0
        end = len(data)
        needed = FIXED_HEADER
        judged = 0
        try:
            while end - at >= FIXED_HEADER:
                unpack = HEADS.get(data[at])
                if unpack is None:
                    raise FramingError(f"byte order mark {data[at]:#x}")
                _, _, _, version, body, serial, fields = unpack(data, at)
                stop = at + FIXED_HEADER + (fields + 7 & ~7) + body
                if version != 1 or fields > MAX_FIELDS or serial == 0 or stop - at > self._max_size:
                    self._check(version, fields, serial, stop - at)
                    head_size = FIXED_HEADER + (fields + 7 & ~7)
                    if end - at < head_size:
                        needed = head_size
                        break
                    pieces += (data[start:at], self._pass_over(bytes(data[at : at + head_size]), stop - at))
                    self._skip = max(0, stop - end)
                    at = start = min(stop, end)
                    continue
                if stop > end:
                    needed = stop - at
                    break
                if judged == JUDGED_AT_ONCE:
                    self.is_tired, needed = True, stop - at
                    break
                judged += 1
                message = bytes(data[at:stop])
                passed = self._judged(message)
                if passed is None:
                    self.is_held, needed = True, stop - at
                    break
                if passed.on is not message:
                    pieces += (data[start:at], passed.on)
                    start = stop
                at = self._known_until(data, stop)
        finally:
            self._needed = needed
            pieces.append(data[start:at])
            self._keep_rest(data, at)
            self._send_on(pieces)

    def _keep_rest(self, data: Data, at: int) -> None:
        """What waits: the data from there on."""
        if data is self._rest:
            del self._rest[:at]  # which copies nothing: of many that wait, few are judged at a time
        elif at < len(data):
            self._rest = bytearray(data[at:])
        self.held_bytes = len(self._rest)

    def _send_on(self, pieces: list[Data]) -> None:
        some = [piece for piece in pieces if piece]
        if some:
            self._on.send(some[0] if len(some) == 1 else b"".join(some))

    def _judged(self, message: bytes) -> Passed | None:
        passed = self._judge.judge(message)
        if passed is not None:
            self.unpaid += JUDGING
            if passed.back:
                self._back(passed.back)
            if passed.ticket is not None:
                self.heed(self._epoch.number)
                self.keep(message, passed.ticket)
        return passed

    def _check(self, version: int, fields: int, serial: int, size: int) -> None:
        if version != 1:
            raise FramingError(f"protocol version {version}, not 1")
        if serial == 0:
            raise FramingError("serial 0")
        if fields > MAX_FIELDS or size > MAX_SIZE:
            raise FramingError(f"message of {size} bytes, more than {self._max_size}")

    def _pass_over(self, head: bytes, size: int) -> bytes:
        """Answer a message without reading it; what goes on instead of it."""
        self.unpaid += 1
        passed = self._judge.too_large(scan(head), size)
        if passed.back:
            self._back(passed.back)
        return passed.on
