# SPDX-License-Identifier: GPL-2.0-or-later
"""How much is done for one domain before another one's message goes on: counted in messages, not in time."""

import asyncio
import contextlib
import functools
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from openxt_bus.codec import Message, encode
from openxt_bus.loop import BusLoop
from openxt_bus.transport.pipe import READS_AT_ONCE, SocketPipe
from openxt_core.ids import Domid
from openxt_rpcproxy.budget import Budget, Limits, Share
from openxt_rpcproxy.dialect import RawDialect
from openxt_rpcproxy.lane import JUDGED_AT_ONCE, JUDGING
from openxt_rpcproxy.passage import Passage, Rewriting
from openxt_rpcproxy.rate import Rate
from openxt_rpcproxy.relay import Relay
from openxt_rpcproxy.rules.model import Source
from openxt_rpcproxy.turns import PAUSE_S, Turns

BUS = "org.freedesktop.DBus"
CALL, RETURN, NO_REPLY = 1, 2, 1
ATTACKER, VICTIM = Domid(20), Domid(7)
CONNECTIONS = 16
ENDLESS = Limits(messages_per_s=10**9, burst=10**9, judged_per_s=10**9, judged_burst=10**9)
LOOKS = (
    3  # at what is ready, until a message that came has gone on: the loop's own wait, and one for the rest
)


def call(serial: int, member: str) -> bytes:
    return encode(Message(CALL, serial, {1: "/", 2: "i.I", 3: member, 6: "a.A"}, (), NO_REPLY))


@dataclass
class Conversation:
    """Its two far ends."""

    domid: Domid
    budget: Budget
    relay: Relay | None = None
    ends: list[socket.socket] = field(default_factory=list)

    @property
    def judged(self) -> int:
        """How many of the client's messages."""
        assert self.relay is not None
        return self.relay._seen // JUDGING

    async def run(self) -> None:
        """For ever."""
        pairs = [socket.socketpair() for _ in range(2)]
        for one in (end for pair in pairs for end in pair):
            one.setblocking(False)
        self.ends = [far for far, _ in pairs]
        client, bus = (SocketPipe(near) for _, near in pairs)
        share = Share(self.budget)
        passage = Passage(Source(self.domid), None, Rewriting(), lambda _: None, share)
        relay = self.relay = Relay((client, RawDialect()), (bus, RawDialect()), passage, share)
        self.ends[0].send(encode(Message(CALL, 1, {1: "/", 2: BUS, 3: "Hello", 6: BUS})))
        await relay.run()

    async def greet(self) -> None:
        await self.heard(b"Hello")
        self.ends[1].send(encode(Message(RETURN, 1, {5: 1, 6: ":1.7", 8: "s"}, (":1.7",))))
        assert await asyncio.get_running_loop().sock_recv(self.ends[0], 2**20)

    def fill(self) -> None:
        """As many messages as go, each with a header of its own."""
        with contextlib.suppress(BlockingIOError):
            for number in range(10**6):
                self.ends[0].send(call(number + 2, f"m{number}"))

    async def heard(self, what: bytes) -> None:
        """Returns when the bus has got that."""
        loop, got = asyncio.get_running_loop(), b""
        while what not in got:
            got += await loop.sock_recv(self.ends[1], 2**20)


async def before_the_victims() -> int:
    """How many of the attacker's messages are judged between the victim's message and its going on."""
    budget = Budget(ENDLESS)
    attackers = [Conversation(ATTACKER, budget) for _ in range(CONNECTIONS)]
    victim = Conversation(VICTIM, Budget(ENDLESS))
    tasks = [asyncio.create_task(one.run()) for one in (victim, *attackers)]
    await asyncio.sleep(0)
    await victim.greet()
    for one in attackers:
        await one.greet()
        one.fill()
    victim.ends[0].send(call(2, "victims"))
    judged = sum(one.judged for one in attackers)
    await victim.heard(b"victims")
    judged = sum(one.judged for one in attackers) - judged
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return judged


@pytest.mark.filterwarnings("ignore:unclosed")
def test_a_flood_of_one_domain_delays_another_by_few_messages_however_many_connections_it_has() -> None:
    with asyncio.Runner(loop_factory=BusLoop) as runner:
        assert runner.run(before_the_victims()) <= LOOKS * (READS_AT_ONCE + 1) * JUDGED_AT_ONCE


@pytest.mark.filterwarnings("ignore:unclosed")
def test_nothing_is_lost_when_conversations_take_turns() -> None:
    async def body() -> None:
        one = Conversation(ATTACKER, Budget(ENDLESS))
        task = asyncio.create_task(one.run())
        await asyncio.sleep(0)
        await one.greet()
        some = b"".join(call(number + 2, f"m{number}") for number in range(300))
        one.ends[0].send(some)
        got = b""
        async with asyncio.timeout(20):
            while len(got) < len(some):
                got += await asyncio.get_running_loop().sock_recv(one.ends[1], 2**20)
        assert got == some
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with asyncio.Runner(loop_factory=BusLoop) as runner:
        runner.run(body())


class Clock(asyncio.SelectorEventLoop):
    """A loop of which the time is turned by hand, and in which nothing happens by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, **named: Any) -> Any:
        self.due.append((self.now + delay, callback))

    def run_for(self, seconds: float) -> None:
        """All that is due until then."""
        until = self.now + seconds
        while self.due and self.due[0][0] <= until:
            self.now, callback = self.due.pop(0)
            callback()
        self.now = until


def flooded(per_s: int, burst: int, *, is_free: bool) -> tuple[Clock, list[float]]:
    """Somebody who always has more to judge, and when that was."""
    clock, taken = Clock(), []
    turns = Turns(clock, Rate(per_s, burst, 0.0))

    def go_on() -> None:
        taken.append(clock.now)
        turns.wait(go_on, is_free=is_free)

    turns.wait(go_on, is_free=is_free)
    return clock, taken


def test_after_a_rest_many_turns_are_taken_at_once_then_few_a_second() -> None:
    clock, taken = flooded(100, 30, is_free=False)
    clock.run_for(0.05)
    assert len(taken) in range(30, 35)
    del taken[:]
    clock.run_for(10.0)
    assert len(taken) in range(980, 1021)
    clock.close()


def test_turns_that_are_few_come_in_bunches_with_pauses() -> None:
    clock, taken = flooded(100, 30, is_free=False)
    clock.run_for(5.0)
    del taken[:]
    clock.run_for(5.0)
    assert len(set(taken)) <= 5.0 / PAUSE_S + 1
    clock.close()


def test_a_free_turn_has_no_rate() -> None:
    clock, taken = Clock(), []
    turns = Turns(clock, Rate(1, 1, 0.0))

    def go_on() -> None:
        taken.append(clock.now)
        if len(taken) < 500:
            turns.wait(go_on, is_free=True)

    turns.wait(go_on, is_free=True)
    clock.run_for(0.0)
    assert len(taken) == 500
    clock.close()


def test_who_waits_already_waits_once() -> None:
    clock, taken = Clock(), []
    turns = Turns(clock, Rate(100, 100, 0.0))
    one = functools.partial(taken.append, 1)
    for _ in range(5):
        turns.wait(one, is_free=False)
    clock.run_for(1.0)
    assert taken == [1]
    clock.close()


def test_while_a_turn_is_paused_for_the_domain_is_read() -> None:
    """What is ready and not read would keep the loop busy."""
    clock = Clock()
    turns = Turns(clock, Rate(10, 1, 0.0))
    turns.wait(lambda: None, is_free=False)
    assert turns.pace.is_behind
    clock.run_for(0.0)
    turns.wait(lambda: None, is_free=False)
    assert not turns.pace.is_behind
    clock.close()
