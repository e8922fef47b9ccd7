# SPDX-License-Identifier: GPL-2.0-or-later
"""A lane judges each message as if it were the first: what is kept of earlier ones changes nothing."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_bus.codec import Message, encode
from openxt_bus.framing import FramingError, Header, MessageType, scan
from openxt_rpcproxy.epoch import Epoch
from openxt_rpcproxy.express import LITTLE, MAX_KEPT, Express, Manner, Ticket
from openxt_rpcproxy.lane import JUDGED_AT_ONCE, JUDGING, Judge, Lane
from openxt_rpcproxy.passed import Passed
from openxt_rpcproxy.rows import serials

CALL, RETURN, SIGNAL = 1, 2, 4
MAX = 4096


@dataclass
class Rules:
    """A stand-in for the policy: allows by destination and path, and can change its mind."""

    allowed: set[str] = field(default_factory=lambda: {"a.A", ":1.1"})
    epoch: Epoch = field(default_factory=Epoch)
    asked: list[tuple[str, int]] = field(default_factory=list)
    awaited: set[int] = field(default_factory=lambda: set(range(1, 50)))
    judged: int = 0
    rows: int = 0
    """Questions for several at once."""
    keeps: bool = True
    waits_for: set[int] = field(default_factory=set)

    def judge(self, message: bytes) -> Passed | None:
        header = scan(message)
        if header.serial in self.waits_for:
            return None
        self.judged += 1
        if header.destination not in self.allowed:
            return Passed(back=b"no")
        if header.type in (MessageType.METHOD_RETURN, MessageType.ERROR):
            if not self.may_answer("", header.reply_serial):
                return Passed()
            return Passed(on=message, ticket=self._ticket(Manner.ANSWERS))
        if header.wants_reply:
            self.may_ask(header.destination, header.serial)
            return Passed(on=message, ticket=self._ticket(Manner.ASKS, header.destination))
        return Passed(on=message, ticket=self._ticket(Manner.PASSES))

    def _ticket(self, manner: Manner, peer: str = "") -> Ticket | None:
        return Ticket(manner, peer) if self.keeps else None

    def may_ask(self, peer: str, serial: int) -> bool:
        self.asked.append((peer, serial))
        return True

    def may_answer(self, _peer: str, serial: int) -> bool:
        is_awaited = serial in self.awaited
        self.awaited.discard(serial)
        return is_awaited

    def may_ask_all(self, peer: str, serials: list[int]) -> bool:
        self.rows += 1
        return all(self.may_ask(peer, serial) for serial in serials)

    def may_answer_all(self, peer: str, serials: list[int]) -> bool:
        self.rows += 1
        if len(set(serials)) < len(serials) or not self.awaited.issuperset(serials):
            return False
        return all(self.may_answer(peer, serial) for serial in serials)

    def too_large(self, header: Header, size: int) -> Passed:
        return Passed(back=b"large")


@dataclass
class World:
    rules: Rules = field(default_factory=Rules)
    on: bytes = b""
    sent: int = 0
    back: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        rules = self.rules
        judge = Judge(rules.epoch, rules.judge, rules.too_large, rules, rules)
        self.lane = Lane(judge, self, self.back.append, MAX)

    def feed(self, data: bytes | memoryview) -> None:
        """Everything that can be judged."""
        self.lane.feed(data)
        while self.lane.is_tired:
            self.lane.go_on()

    def send(self, data: Any, /) -> None:
        self.on += bytes(data)
        self.sent += 1


def call(serial: int, destination: str = "a.A", path: str = "/", kind: int = CALL, flags: int = 0) -> bytes:
    return encode(Message(kind, serial, {1: path, 2: "i.I", 3: "m", 6: destination}, (), flags))


def reply(serial: int, answers: int, destination: str = ":1.1") -> bytes:
    return encode(Message(RETURN, serial, {6: destination, 5: answers}))


def big_endian(serial: int, destination: str) -> bytes:
    fields = struct.pack(">BBsBI", 6, 1, b"s", 0, len(destination)) + destination.encode() + b"\0"
    head = struct.pack(">cBBBIII", b"B", CALL, 0, 1, 0, serial, len(fields))
    return head + fields + b"\0" * (-len(fields) % 8)


messages = st.one_of(
    st.builds(call, st.integers(1, 60), st.sampled_from(["a.A", "a.B"]), st.sampled_from(["/", "/x"])),
    st.builds(call, st.integers(1, 60), kind=st.just(SIGNAL)),
    st.builds(call, st.integers(1, 60), flags=st.integers(0, 3)),
    st.builds(reply, st.integers(1, 60), st.integers(1, 60), st.sampled_from([":1.1", ":1.2"])),
    st.builds(big_endian, st.integers(1, 60), st.sampled_from(["a.A", "a.B"])),
)
numbers = st.integers(1, 60)
destinations = st.sampled_from(["a.A", "a.B"])
rows = st.one_of(
    st.builds(
        lambda serials, where, flags: b"".join(call(serial, where, flags=flags) for serial in serials),
        *(st.lists(numbers, min_size=4, max_size=80), destinations, st.integers(0, 3)),
    ),
    st.builds(
        lambda pairs, where: b"".join(reply(*pair, where) for pair in pairs),
        *(st.lists(st.tuples(numbers, numbers), min_size=4, max_size=12), st.sampled_from([":1.1", ":1.2"])),
    ),
    st.builds(
        lambda serials, where: b"".join(big_endian(serial, where) for serial in serials),
        *(st.lists(numbers, min_size=4, max_size=12), destinations),
    ),
)
changes = st.sampled_from(["a.A", "a.B", ":1.1"])


def flipped(data: tuple[bytes, int, int]) -> bytes:
    """A message with one byte changed."""
    message, at, value = data
    at %= len(message)
    return message[:at] + bytes((value,)) + message[at + 1 :]


steps = st.lists(
    st.one_of(
        messages,
        messages,
        rows,
        st.tuples(messages, st.integers(0, 200), st.integers(0, 255)).map(flipped),
        st.tuples(rows, st.integers(0, 2000), st.integers(0, 255)).map(flipped),
        changes,
    ),
    max_size=60,
)


@given(steps)
def test_what_passes_is_what_would_pass_if_nothing_were_kept(some: list[bytes | str]) -> None:
    quick, slow = World(), World(Rules(keeps=False))
    for step in some:
        ends = []
        for world in (quick, slow):
            if isinstance(step, str):
                world.rules.allowed ^= {step}
                world.rules.epoch.end()
                continue
            try:
                world.feed(step)
                ends.append("")
            except FramingError:
                ends.append("end")
        assert len(set(ends)) <= 1
        assert (quick.on, quick.back, quick.rules.asked) == (slow.on, slow.back, slow.rules.asked)
        assert quick.rules.awaited == slow.rules.awaited
        if "end" in ends:
            return


@given(
    st.lists(messages | rows, min_size=1, max_size=30), st.lists(st.integers(1, 90), min_size=1, max_size=40)
)
def test_it_does_not_matter_how_the_stream_is_cut(some: list[bytes], sizes: list[int]) -> None:
    whole, pieces = World(), World()
    data = b"".join(some)
    whole.feed(data)
    at = 0
    for size in sizes:
        pieces.feed(data[at : at + size])
        at += size
    pieces.feed(memoryview(data)[at:])
    assert (whole.on, whole.back) == (pieces.on, pieces.back)
    assert whole.lane.held_bytes == pieces.lane.held_bytes == 0


def test_messages_in_a_row_go_on_in_one_piece_and_only_the_first_is_judged() -> None:
    world = World()
    some = b"".join(call(serial) for serial in range(1, 40))
    world.lane.feed(some)
    assert (world.on, world.sent, world.rules.judged) == (some, 1, 1)
    assert [serial for _, serial in world.rules.asked] == list(range(1, 40))


@pytest.mark.parametrize(
    "one", [call, lambda serial: big_endian(serial, "a.A"), lambda serial: reply(serial, serial)]
)
def test_a_row_of_likes_is_asked_for_together(one: Callable[[int], bytes]) -> None:
    world = World()
    some = b"".join(one(serial) for serial in range(1, 40))
    world.lane.feed(some)
    assert (world.on, world.rules.judged, world.rules.rows) == (some, 1, 1)
    assert world.lane.unpaid == 38 + JUDGING


@pytest.mark.parametrize("other", [call(9, "a.B"), call(9)[:8] + bytes(4) + call(9)[12:], call(9, flags=2)])
def test_a_row_ends_at_the_first_that_differs(other: bytes) -> None:
    size, tail = len(call(1)), call(1)[12 : 16 + LITTLE(call(1))[3]]
    some = b"".join([*map(call, range(1, 9)), other, *map(call, range(10, 20))])
    assert serials(some, size, size, tail) == list(range(2, 9))


def test_of_many_that_must_be_judged_some_wait_and_nothing_passes_them() -> None:
    world = World()
    some = [call(serial, path=f"/p{serial}") for serial in range(1, JUDGED_AT_ONCE + 3)]
    assert world.lane.feed(b"".join(some)) is False
    assert world.on == b"".join(some[:JUDGED_AT_ONCE])
    assert world.lane.feed(call(99)) is False
    assert world.on == b"".join(some[:JUDGED_AT_ONCE])
    world.lane.go_on()
    assert world.on == b"".join(some[: 2 * JUDGED_AT_ONCE])
    while world.lane.is_tired:
        world.lane.go_on()
    assert world.on == b"".join(some) + call(99)
    assert world.lane.held_bytes == 0


def test_a_message_that_waits_holds_up_those_behind_it_and_no_other() -> None:
    world = World()
    world.rules.waits_for = {2}
    assert world.lane.feed(call(1)) is True
    assert world.lane.feed(call(2, path="/x") + call(3)) is False
    assert world.on == call(1)
    assert scan(world.lane.waiting).serial == 2
    assert world.lane.feed(call(4)) is False
    world.rules.waits_for.clear()
    world.lane.go_on()
    assert world.on == call(1) + call(2, path="/x") + call(3) + call(4)
    assert world.lane.held_bytes == 0


def test_what_is_too_large_is_answered_and_passed_over() -> None:
    world = World()
    large = encode(Message(CALL, 5, {1: "/", 3: "m", 6: "a.A", 8: "s"}, ("x" * MAX,)))
    world.lane.feed(call(1) + large[:500])
    assert world.lane.held_bytes == 0
    world.lane.feed(large[500:] + call(2))
    assert (world.on, world.back) == (call(1) + call(2), [b"large"])


@pytest.mark.parametrize(
    "bad", [b"x" + call(1)[1:], call(1)[:3] + b"\2" + call(1)[4:], call(1)[:8] + b"\0\0\0\0" + call(1)[12:]]
)
def test_what_is_no_message_ends_the_stream(bad: bytes) -> None:
    with pytest.raises(FramingError):
        World().lane.feed(bad)


def test_a_mark_that_is_none_is_not_believed_because_the_rest_came_before() -> None:
    world = World()
    world.feed(reply(1, 1))
    with pytest.raises(FramingError):
        world.feed(reply(2, 2) + b"\0" + reply(3, 3)[1:])
    assert world.on == reply(1, 1) + reply(2, 2)


def test_a_peer_that_makes_up_headers_does_not_fill_memory() -> None:
    express = Express()
    for number in range(2 * MAX_KEPT + 10):
        express.keep(call(1, path=f"/p{number}"), Ticket(Manner.ASKS))
        express.keep(reply(1, 2, f":1.{number}"), Ticket(Manner.ANSWERS))
    assert 0 < len(express.known) <= MAX_KEPT
