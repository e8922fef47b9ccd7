# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections over one line: each byte arrives in its own stream, in order, and ends are passed on."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xenbed.relay import HEAD, MAX_FRAME, Kind, Relay


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Relay, Relay]]:
    """Both ends of a line, running."""
    one, other = socket.socketpair()
    near = Relay(*await asyncio.open_unix_connection(sock=one))
    far = Relay(*await asyncio.open_unix_connection(sock=other))
    tasks = [asyncio.create_task(end.run()) for end in (near, far)]
    yield near, far
    await near.send(Kind.END)
    await far.send(Kind.END)
    await asyncio.gather(*tasks)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


async def through(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = await reader.readexactly(len(data))
    writer.close()
    return answer


async def test_many_connections_at_once_get_their_own_bytes_back(ends: tuple[Relay, Relay]) -> None:
    near, _ = ends
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = await near.listen(server.sockets[0].getsockname()[1])
    sent = [bytes([number]) * (number * 7_001) for number in range(1, 20)]
    async with asyncio.timeout(30):
        assert await asyncio.gather(*(through(port, data) for data in sent)) == sent


async def test_a_port_where_nobody_listens_ends_the_connection(ends: tuple[Relay, Relay]) -> None:
    near, _ = ends
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", await near.listen(nobody))
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()


async def test_readiness_is_told(ends: tuple[Relay, Relay]) -> None:
    near, far = ends
    assert not near.ready.is_set()
    await far.send(Kind.READY)
    async with asyncio.timeout(30):
        await near.ready.wait()


@given(st.integers(MAX_FRAME + 1, 2**32 - 1))
async def test_a_line_out_of_step_is_an_error(size: int) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(HEAD.pack(Kind.DATA, 1, size))
    relay = Relay(reader, None)  # type: ignore[arg-type]  # it says nothing
    with pytest.raises(ValueError, match="out of step"):
        await relay.run()
