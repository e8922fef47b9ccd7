# SPDX-License-Identifier: GPL-2.0-or-later
"""A relay between two sockets: what comes through, who is stopped, and when it ends."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from openxt_bus.codec import Message, encode
from openxt_bus.framing import cut
from openxt_bus.transport.pipe import SocketPipe
from openxt_core.ids import Domid
from openxt_rpcproxy import relay as relay_module
from openxt_rpcproxy.budget import Budget, Limits, LimitsExceeded, Share
from openxt_rpcproxy.dialect import RawDialect
from openxt_rpcproxy.passage import Passage, Rewriting
from openxt_rpcproxy.relay import CHOKED, FULL, Relay
from openxt_rpcproxy.rules.model import Source

BUS = "org.freedesktop.DBus"
CALL, RETURN, SIGNAL = 1, 2, 4
HELLO = encode(Message(CALL, 1, {1: "/", 2: BUS, 3: "Hello", 6: BUS}))
GREETING = encode(Message(RETURN, 1, {5: 1, 6: ":1.7", 8: "s"}, (":1.7",)))
SOCKET_KIB = 4 * 1024  # what sockets themselves hold at most


def call(serial: int, text: str = "", destination: str = "a.A") -> bytes:
    return encode(Message(CALL, serial, {1: "/", 2: "i.I", 3: "m", 6: destination, 8: "s"}, (text,)))


def signal(text: str) -> bytes:
    return encode(Message(SIGNAL, 9, {1: "/", 2: "i.I", 3: "m", 7: ":1.1", 8: "s"}, (text,)))


@dataclass
class World:
    """The peers' ends of a relay whose client was greeted."""

    client: socket.socket
    bus: socket.socket
    share: Share
    task: "asyncio.Task[None]"

    async def read(self, end: socket.socket) -> bytes:
        async with asyncio.timeout(10):
            return await asyncio.get_running_loop().sock_recv(end, 2**20)

    async def push(self, end: socket.socket, data: bytes, most: int) -> int:
        """Send until nothing goes any more, or so many bytes went."""
        sent, idle = 0, 0
        while sent < most and idle < 20:
            try:
                sent += end.send(data)
                idle = 0
            except BlockingIOError:
                idle += 1
            await asyncio.sleep(0)
        return sent


@contextlib.asynccontextmanager
async def opened(limits: Limits = Limits()) -> AsyncIterator[World]:  # noqa: B008  (a frozen value)
    client, ours = socket.socketpair()
    bus, ours_too = socket.socketpair()
    for one in (client, ours, bus, ours_too):
        one.setblocking(False)
    share = Share(Budget(limits))
    passage = Passage(Source(Domid(7)), None, Rewriting(), lambda _: None, share)
    pipes = SocketPipe(ours, HELLO), SocketPipe(ours_too)
    relay = Relay((pipes[0], RawDialect()), (pipes[1], RawDialect()), passage, share)
    world = World(client, bus, share, asyncio.create_task(relay.run()))
    assert await world.read(bus) == HELLO
    bus.send(GREETING)
    assert await world.read(client) == GREETING
    try:
        yield world
    finally:
        world.task.cancel()
        await asyncio.gather(world.task, return_exceptions=True)
        for pipe in pipes:
            await pipe.close(0)
        client.close()
        bus.close()


async def test_messages_go_both_ways() -> None:
    async with opened() as world:
        world.client.send(call(2) + call(3))
        assert await world.read(world.bus) == call(2) + call(3)
        world.bus.send(signal("x"))
        assert await world.read(world.client) == signal("x")


async def test_who_does_not_read_is_not_read_for_and_gets_everything_in_the_end() -> None:
    async with opened() as world:
        data = signal("x" * 30_000)
        sent = await world.push(world.bus, data, 2**26)
        assert sent < FULL + SOCKET_KIB * 1024
        assert world.share.held_bytes < FULL + 2**20
        world.client.send(call(2))  # the other way is open still
        assert await world.read(world.bus) == call(2)
        got = 0
        while got < sent:
            got += len(await world.read(world.client))
        assert got == sent


async def test_a_client_that_does_not_fetch_its_errors_is_not_read_any_more() -> None:
    async with opened(Limits(open_calls=1)) as world:
        world.client.send(call(2))
        await world.push(world.client, call(2), 2**26)
        assert world.share.held_bytes < CHOKED + FULL + 2**20


async def test_the_end_of_one_side_ends_the_relay() -> None:
    async with opened() as world:
        world.bus.close()
        async with asyncio.timeout(10):
            await world.task


async def test_too_much_held_for_a_domain_ends_the_conversation() -> None:
    async with opened(Limits(held_bytes=1000)) as world:
        world.client.send(call(2, "x" * 5000)[:-1])
        with pytest.raises(LimitsExceeded, match="1000 held bytes"):
            async with asyncio.timeout(10):
                await world.task


async def test_half_a_message_ends_the_conversation_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "MESSAGE_TIMEOUT_S", 0.01)
    async with opened() as world:
        world.client.send(call(2)[:-1])
        with pytest.raises(TimeoutError, match="half a message"):
            async with asyncio.timeout(10):
                await world.task


async def test_a_domain_that_says_too_much_is_read_more_slowly_and_loses_nothing() -> None:
    async with opened(Limits(messages_per_s=2000, burst=10)) as world:
        world.client.send(b"".join(call(serial) for serial in range(2, 102)))
        buffer = bytearray()
        count = 0
        while count < 100:
            buffer += await world.read(world.bus)
            count += len(list(cut(buffer, 2**20)))
        world.client.send(call(200))
        assert await world.read(world.bus) == call(200)


async def gathered(world: World, end: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        got += await world.read(end)
    return got


async def test_a_flood_that_must_be_judged_is_read_more_slowly_in_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened(Limits(judged_per_s=100, judged_burst=1)) as world:
        some = b"".join(call(serial, destination=f"a.A{serial}") for serial in range(2, 10))
        world.client.send(some)
        assert await gathered(world, world.bus, len(some)) == some
    assert [line for line in caplog.messages if "more than 100 judged per s" in line]


async def test_what_the_bus_sends_costs_a_domain_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with opened(Limits(judged_per_s=1, judged_burst=1)) as world:
        fields = {1: "/", 2: "i.I", 7: ":1.1"}
        some = b"".join(encode(Message(SIGNAL, 9, {**fields, 3: f"m{number}"})) for number in range(50))
        world.bus.send(some)
        assert await gathered(world, world.client, len(some)) == some
    assert "judged" not in caplog.text
