# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's v4v connections to dom0."""

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sim_process import appears, running_server, start_guest, vanishes

from openxt_sim.server import Server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path) as running:
        yield running


@pytest.mark.parametrize("port", [5555, 5556])
async def test_dom0s_listener_is_told_who_connects_and_then_hears_it(
    server: Server, tmp_path: Path, port: int
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(struct.unpack("<III", await reader.readexactly(12)))
        writer.write(await reader.read())
        writer.close()

    heads: list[tuple[int, ...]] = []
    listener = tmp_path / "var/run/v4v/0" / str(port)
    listener.parent.mkdir(parents=True)
    domid = start_guest(server, tmp_path)
    socket = tmp_path / "var/run/guests" / str(domid) / str(port)
    await appears(socket)
    async with await asyncio.start_unix_server(echo, listener), asyncio.timeout(10):
        for _ in range(2):
            reader, writer = await asyncio.open_unix_connection(socket)
            writer.write(b"hello" * 30000)
            writer.write_eof()
            assert await reader.read() == b"hello" * 30000
            writer.close()
    assert [(magic, peer) for magic, peer, _ in heads] == [(0x76347631, domid)] * 2
    assert heads[0][2] != heads[1][2]


async def test_a_port_that_nobody_listens_on_closes_at_once(server: Server, tmp_path: Path) -> None:
    domid = start_guest(server, tmp_path)
    socket = tmp_path / "var/run/guests" / str(domid) / "5555"
    await appears(socket)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_unix_connection(socket)
        assert await reader.read() == b""
        writer.close()


async def test_the_conversations_of_a_dead_guest_end(server: Server, tmp_path: Path) -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set_result(await reader.readexactly(12))
        heard.set_result(await reader.read())
        writer.close()

    connected: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    listener = tmp_path / "var/run/v4v/0/5555"
    listener.parent.mkdir(parents=True)
    domid = start_guest(server, tmp_path)
    socket = tmp_path / "var/run/guests" / str(domid) / "5555"
    await appears(socket)
    async with await asyncio.start_unix_server(listen, listener), asyncio.timeout(10):
        _, writer = await asyncio.open_unix_connection(socket)
        writer.write(b"x")
        await connected
        server.host.destroy_domain(domid)
        assert await heard in (b"", b"x")
        await vanishes(socket.parent)
        writer.close()
