# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a stream whose peer reads nothing."""

import asyncio
import socket
from pathlib import Path

from openxt_bus.transport.sockets import close

SIZE = 16 * 1024 * 1024  # more than sockets hold


async def test_a_peer_that_reads_nothing_is_cut_off(tmp_path: Path) -> None:
    accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    path = tmp_path / "socket"
    server = await asyncio.start_unix_server(lambda _, writer: accepted.set_result(writer), path)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(path))
        writer = await accepted
        writer.write(b"x" * SIZE)
        await close(writer, timeout_s=0.01)
        await asyncio.sleep(0)  # the transport lets go of its socket in the next round of the loop
        assert len(b"".join(iter(lambda: silent.recv(65536), b""))) < SIZE
    server.close()


async def test_a_peer_that_reads_gets_all_of_it(tmp_path: Path) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 1024 * 1024)
        await close(writer)

    server = await asyncio.start_unix_server(serve, tmp_path / "socket")
    reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
    assert len(await reader.read()) == 1024 * 1024
    writer.close()
    server.close()
