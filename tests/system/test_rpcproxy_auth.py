# SPDX-License-Identifier: GPL-2.0-or-later
"""How a client authenticates to a real proxy, down to the bytes, and what ends it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from rpcproxy_house import GUEST, UUID, World, guest_world

from openxt_bus.codec import Message, decode, encode
from openxt_bus.framing import cut
from openxt_bus.transport.base import Peer, Stream
from openxt_core.ids import DOM0
from openxt_rpcproxy import conversation
from openxt_rpcproxy.auth import ClientAuth
from openxt_rpcproxy.budget import UNLIMITED, Budget, Share
from openxt_rpcproxy.conversation import Conversation
from openxt_rpcproxy.dialect import RawDialect
from openxt_rpcproxy.passage import Passage, Rewriting
from openxt_rpcproxy.rules.model import Source

BUS_NAME = "org.freedesktop.DBus"
HELLO = encode(Message(1, 1, {1: "/org/freedesktop/DBus", 2: BUS_NAME, 3: "Hello", 6: BUS_NAME}))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with guest_world() as one:
        yield one


async def client(world: World, port: int = 5555) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(world.address(GUEST, port).removeprefix("unix:path="))


async def name(reader: asyncio.StreamReader) -> str:
    """That the bus gave us."""
    buffer = bytearray()
    async with asyncio.timeout(20):
        while True:
            for data in cut(buffer, 2**20):
                message = decode(data)
                if message.fields.get(5) == 1:
                    return str(message.body[0])
            more = await reader.read(4096)
            assert more, "the proxy closed the conversation"
            buffer += more


@pytest.mark.parametrize(
    ("lines", "answers"),
    [
        (["AUTH EXTERNAL 30"], ["OK"]),
        (["AUTH EXTERNAL", "DATA"], ["DATA", "OK"]),
        (["AUTH ANONYMOUS"], ["OK"]),
        (["AUTH", "AUTH ANONYMOUS 74", "NEGOTIATE_UNIX_FD"], ["REJECTED", "OK", "ERROR"]),
        (["AUTH EXTERNAL 30", "CANCEL", "AUTH ANONYMOUS"], ["OK", "REJECTED", "OK"]),
    ],
)
@pytest.mark.parametrize("pipelined", [True, False])
async def test_a_client_gets_in_line_by_line_or_with_everything_in_one_write(
    world: World, lines: list[str], answers: list[str], pipelined: bool
) -> None:
    reader, writer = await client(world)
    words = [f"{line}\r\n".encode() for line in lines]
    if pipelined:
        writer.write(b"\0" + b"".join(words) + b"BEGIN\r\n" + HELLO)
    found = []
    for word in words:
        if not pipelined:
            writer.write((b"" if found else b"\0") + word)
        found.append((await reader.readuntil(b"\r\n")).decode().split()[0])
    if not pipelined:
        writer.write(b"BEGIN\r\n")
        writer.write(HELLO)
    assert found == answers
    assert (await name(reader)).startswith(":")
    writer.close()


async def test_a_client_is_told_its_uuid_when_the_proxy_is_asked_to(world: World) -> None:
    await world.start_proxy("telling", "-i", "v4v:5556", "-u")
    reader, writer = await client(world, 5556)
    writer.write(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n" + HELLO)
    assert await reader.readuntil(b"\r\n") == f"DATA {UUID}\r\n".encode()
    assert (await reader.readuntil(b"\r\n")).startswith(b"OK ")
    assert (await name(reader)).startswith(":")
    writer.close()


@pytest.mark.parametrize(
    "said",
    [b"x", b"\0BEGIN\r\n", b"\0" + b"A" * 128, b"\0\xc3\xa4\r\n", b"\0" + b"NO\r\n" * 33],
    ids=["no NUL", "BEGIN before OK", "a long line", "no ASCII", "many lines"],
)
async def test_what_breaks_the_protocol_ends_the_conversation(world: World, said: bytes) -> None:
    reader, writer = await client(world)
    writer.write(said)
    async with asyncio.timeout(20):
        while await reader.read(4096):
            pass
    writer.close()


@pytest.mark.parametrize("said", [b"", b"\0", b"\0AUTH EXTER"])
async def test_who_stops_in_the_middle_of_it_is_given_up(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "AUTH_TIMEOUT_S", 0.01)
    reader = asyncio.StreamReader()
    reader.feed_data(said)
    share = Share(Budget(UNLIMITED))

    async def no_bus() -> Stream:
        raise AssertionError("the bus is not bothered")

    _, writer = await pair()
    one = Conversation(Stream(reader, writer, Peer(DOM0)), (RawDialect(), RawDialect()), GUEST)
    passage = Passage(Source(GUEST), None, Rewriting(), lambda name: None, share)
    with pytest.raises(TimeoutError):
        await one.run(no_bus, ClientAuth(), passage, share, enters=True)
    writer.close()


async def pair() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    import socket

    ours, _theirs = socket.socketpair()
    return await asyncio.open_connection(sock=ours)
