# SPDX-License-Identifier: GPL-2.0-or-later
"""One direction of a conversation: bytes are cut into messages, and each is judged.

Messages in a row that pass unchanged are sent on as they came, without being taken apart.  A message that is
larger than allowed is answered and its bytes are passed over.  No I/O: what goes on is handed to a function.
"""

from collections.abc import Callable
from dataclasses import dataclass

from openxt_bus.framing import FIXED_HEADER, MAX_FIELDS, FramingError, Header, scan
from openxt_bus.transport.pipe import Data
from openxt_rpcproxy.epoch import Epoch
from openxt_rpcproxy.express import HEADS, LITTLE, NUMBERS, Express, Ticket
from openxt_rpcproxy.passed import Passed

MAX_SIZE = 128 * 1024 * 1024 + MAX_FIELDS  # the protocol's own limit
_NOT_ANSWERS = frozenset({1, 4})  # calls and signals
_NUMBER = NUMBERS[0x6C]


@dataclass(frozen=True, slots=True)
class Judge:
    """What becomes of the messages of one direction."""

    epoch: Epoch
    """When it ends, a verdict may be another one."""

    judge: Callable[[bytes], Passed | None]
    """None: it cannot be told yet."""

    too_large: Callable[[Header, int], Passed]
    """What follows from a message of so many bytes, which is not read."""

    asks: Callable[[str, int], bool]
    """Note a call that passes, with a serial, to or from that peer; False: judge it."""

    answers: Callable[[str, int], bool]
    """Whether that peer awaits the answer to a serial, which it gets now; False: judge it."""


class Lane:
    __slots__ = (
        "_back", "_express", "_judge", "_max_size", "_needed", "_on", "_rest", "_skip", "count",
        "held_bytes", "is_held",
    )  # fmt: skip

    def __init__(
        self,
        judge: Judge,
        on: Callable[[Data], None],
        back: Callable[[bytes], None],
        max_size: int,
        *,
        express: bool = True,
    ) -> None:
        """`on` and `back` take whole messages, for the other side and for the one they came from."""
        self._judge = judge
        self._on = on
        self._back = back
        self._max_size = max_size
        self._express = Express() if express else None
        self._rest = bytearray()
        self._needed = FIXED_HEADER
        self._skip = 0
        self.count = 0
        """Messages seen so far."""
        self.is_held = False
        """A message waits for something; call `go_on` when that has come."""
        self.held_bytes = 0
        """Of messages that are not whole yet, or wait."""

    @property
    def waiting(self) -> bytes:
        """The message that cannot be judged yet."""
        return bytes(self._rest[: self._needed])

    def feed(self, data: Data) -> bool:
        """False: a message is held.  Raises FramingError for what is no message: the stream cannot go on."""
        if self.held_bytes or self._skip:
            data = self._together(data)
        elif data.__class__ is bytes and self._passes_alone(data):
            return True
        if data:
            self._work(data)
        return not self.is_held

    def _passes_alone(self, data: bytes) -> bool:
        """Send a message on if it came alone and its like was judged before, which `_work` would do too.

        False, and nothing is done: anything else.
        """
        express, judge, size = self._express, self._judge, len(data)
        if express is None or size < FIXED_HEADER or express.epoch != judge.epoch.number:
            return False
        first, body, serial, fields = LITTLE(data)
        end = FIXED_HEADER + fields
        if (end + 7 & ~7) + body != size or serial == 0 or size > self._max_size:
            return False
        if first >> 8 & 0xFF in _NOT_ANSWERS:
            ticket = express.plain.get(data[:4] + data[12:end])
            if ticket is None or (ticket.manner and not judge.asks(ticket.peer, serial)):
                return False
        else:
            for place, known in express.answers.items():
                ticket = known.get(data[:4] + data[12:place] + data[place + 4 : end])
                if ticket is not None:
                    break
            else:
                return False
            if not judge.answers(ticket.peer, _NUMBER(data, place)[0]):
                return False
        self.count += 1
        self._on(data)
        return True

    def _together(self, data: Data) -> Data:
        """The data with what waits for it; empty while that is not enough."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            return data[skipped:]
        self._rest += data
        self.held_bytes = len(self._rest)
        return b"" if self.is_held or self.held_bytes < self._needed else bytes(self._rest)

    def go_on(self) -> None:
        """Judge what waits.  Raises FramingError."""
        self.is_held = False
        self._work(bytes(self._rest))

    def _work(self, data: Data) -> None:
        """The hot path: what is done for each message is written out here."""
        judge, express = self._judge, self._express
        plain: dict[bytes, Ticket] = {}
        answers: dict[int, dict[bytes, Ticket]] = {}
        if express is not None:
            express.heed(judge.epoch.number)
            plain, answers = express.plain, express.answers
        pieces: list[Data] = []
        at = start = 0
        end = len(data)
        needed = FIXED_HEADER
        while end - at >= FIXED_HEADER:
            unpack = HEADS.get(data[at])
            if unpack is None:
                raise FramingError(f"byte order mark {data[at]:#x}")
            order, kind, _, version, body, serial, fields = unpack(data, at)
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
            self.count += 1
            head = bytes(data[at : at + FIXED_HEADER + fields])
            if kind in _NOT_ANSWERS:
                ticket = plain.get(head[:4] + head[12:])
                if ticket is not None and (not ticket.manner or judge.asks(ticket.peer, serial)):
                    at = stop
                    continue
            else:
                passes = False
                for place, known in answers.items():
                    ticket = known.get(head[:4] + head[12:place] + head[place + 4 :])
                    if ticket is not None:
                        passes = judge.answers(ticket.peer, NUMBERS[order](head, place)[0])
                        break
                if passes:
                    at = stop
                    continue
            if start < at:
                pieces.append(data[start:at])
            start = at
            message = bytes(data[at:stop])
            passed = judge.judge(message)
            if passed is None:
                self.is_held, needed = True, stop - at
                self.count -= 1
                break
            at = start = stop
            if passed.back:
                self._back(passed.back)
            if passed.on:
                pieces.append(passed.on)
            if express is not None and passed.ticket is not None:
                express.heed(judge.epoch.number)
                express.keep(message, passed.ticket)
        if start < at:
            pieces.append(data[start:at])
        self._needed = needed
        if at < end or self.held_bytes:
            self._rest = bytearray(data[at:])
            self.held_bytes = len(self._rest)
        if pieces:
            self._on(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _check(self, version: int, fields: int, serial: int, size: int) -> None:
        if version != 1:
            raise FramingError(f"protocol version {version}, not 1")
        if serial == 0:
            raise FramingError("serial 0")
        if fields > MAX_FIELDS or size > MAX_SIZE:
            raise FramingError(f"message of {size} bytes, more than {self._max_size}")

    def _pass_over(self, head: bytes, size: int) -> bytes:
        """Answer a message without reading it; what goes on instead of it."""
        self.count += 1
        passed = self._judge.too_large(scan(head), size)
        if passed.back:
            self._back(passed.back)
        return passed.on
