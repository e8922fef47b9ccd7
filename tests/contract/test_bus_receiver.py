# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read from the bus's socket: the same by the module in C and by the one in Python."""

import gc
import itertools
import socket
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from keepers import KEEPERS, keeper
from openxt_bus import message as codec
from openxt_bus.heads import HEAD_SIZE
from openxt_bus.plans import MAX_SERIAL

CALL = codec.method_call(5, ("org.test", "/", "org.test.I", "m"), "s", ["text"])
OTHER = codec.method_call(6, ("org.test", "/", "org.test.I", "other"), "s", ["text"])
KEY = CALL[HEAD_SIZE : HEAD_SIZE + int.from_bytes(CALL[12:16], "little")]
FIELDS = codec.return_fields(":1.5", "s")


@pytest.fixture(params=KEEPERS)
def quick(request: pytest.FixtureRequest) -> SimpleNamespace:
    return keeper(request.param)


class Line:
    """A receiver that knows CALL, the peer's end of its socket, and what it left to others."""

    def __init__(self, quick: Any) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.waiting: list[bytes] = []
        self.left: list[tuple[bytes | None, bytes | None]] = []
        self.result: Any = "answer"
        plan = quick.Plan(lambda _: self.result, 1, "s", *FIELDS, None, lambda *_: b"")
        self.receiver = quick.Receiver(self.ours.fileno(), self.waiting, lambda *what: self.left.append(what))
        self.receiver.plans = {KEY: plan}

    def sends(self, data: bytes) -> list[tuple[bytes | None, bytes | None]]:
        """What is left to others of that."""
        self.theirs.send(data)
        return self.reads()

    def reads(self) -> list[tuple[bytes | None, bytes | None]]:
        self.left.clear()
        self.receiver.readable()
        return self.left

    def hears(self) -> bytes:
        data = b""
        try:
            while piece := self.theirs.recv(1 << 20):
                data += piece
        except BlockingIOError:
            pass
        return data


@pytest.fixture
def line(quick: SimpleNamespace) -> Iterator[Line]:
    line = Line(quick)
    with line.ours, line.theirs:
        yield line


def test_a_lone_call_is_answered_at_once(line: Line) -> None:
    assert line.sends(CALL) == []
    answer = codec.parse_message(line.hears())
    assert (answer.body, answer.reply_serial, answer.serial) == (["answer"], 5, 1)


def test_what_is_not_one_known_call_is_for_others(line: Line) -> None:
    for data in (OTHER, CALL * 2, CALL[:-1], CALL + b"l"):
        assert line.sends(data) == [(data, None)]
    assert line.hears() == b""


def test_where_nothing_came_nobody_is_told(line: Line) -> None:
    assert line.reads() == []


def test_the_end_of_the_stream_is_for_others(line: Line) -> None:
    line.theirs.close()
    assert line.reads() == [(b"", None)]


def test_an_answer_does_not_overtake_what_waits(line: Line) -> None:
    line.waiting.append(b"before")
    ((came, left),) = line.sends(CALL)
    assert came is None
    assert left is not None
    assert codec.parse_message(left).body == ["answer"]
    assert line.hears() == b""


def test_an_answer_that_comes_later_is_not_sent_now(line: Line) -> None:
    line.result = object()
    assert line.sends(CALL) == []
    assert line.hears() == b""


def test_who_is_held_reads_nothing(line: Line) -> None:
    line.receiver.is_held = True
    assert line.sends(CALL) == [(None, None)]
    assert line.receiver.is_held is True
    line.receiver.is_held = False
    assert line.reads() == []
    assert codec.parse_message(line.hears()).body == ["answer"]


def test_a_socket_that_fails_is_left_to_who_finds_out_why(line: Line) -> None:
    line.ours.close()
    assert line.reads() == [(None, None)]


def test_what_the_socket_does_not_take_is_left(line: Line) -> None:
    line.result = "y" * 60_000
    heard = b""
    for _ in itertools.count():
        left = line.sends(CALL)
        if left:
            break
    heard = line.hears() + (left[0][1] or b"")
    one = heard.index(b"y") + 60_001
    assert left[0][0] is None
    assert len(heard) % one == 0
    assert all(heard[at : at + one].endswith(b"y\0") for at in range(0, len(heard), one))


def test_a_peer_that_has_gone_gives_the_answer_back(line: Line) -> None:
    line.theirs.send(CALL)
    line.theirs.shutdown(socket.SHUT_RD)
    line.theirs.close()
    ((came, left),) = line.reads()
    assert (came, type(left)) == (None, bytes)


def test_serials_are_in_a_row_and_begin_again(line: Line) -> None:
    receiver = line.receiver
    assert [receiver.next_serial(), receiver.next_serial()] == [1, 2]
    line.sends(CALL)
    assert codec.parse_message(line.hears()).serial == 3
    receiver.serial = MAX_SERIAL
    assert (receiver.next_serial(), receiver.serial) == (1, 1)


def test_what_fails_is_raised(line: Line) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    line.receiver.plans[KEY] = type(line.receiver.plans[KEY])(fail, 1, "s", *FIELDS, None, fail)
    with pytest.raises(KeyboardInterrupt):
        line.sends(CALL)


def test_nonsense_is_refused() -> None:
    module = keeper("c")
    with pytest.raises(TypeError):
        module.Receiver("1", [], print)
    receiver = module.Receiver(0, [], print)
    for plans in ([], None, b""):
        with pytest.raises(TypeError, match="plans are a dict"):
            receiver.plans = plans
    with pytest.raises(TypeError):
        del receiver.plans
    with pytest.raises(TypeError):
        receiver.readable(1)


def test_who_is_in_a_circle_with_one_goes(quick: SimpleNamespace) -> None:
    class Owner:
        def __init__(self) -> None:
            self.receiver = quick.Receiver(0, [], self.take)

        def take(self, *_: object) -> None:
            pass

    gone = weakref.ref(Owner())
    gc.collect()
    assert gone() is None
