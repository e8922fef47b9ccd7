# SPDX-License-Identifier: GPL-2.0-or-later
"""What every transport between domains promises: UNIX sockets, vchans in memory, and vchans of the real Xen.

The vchans in memory meet through the simulated XenStore; the real ones lead from dom0 to dom0.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from memory_ring import MemoryRings
from openxt_bus.transport.base import Listener, OnStream, Peer, Stream, Transport
from openxt_bus.transport.unix import UnixTransport
from openxt_core.ids import DOM0, Domid
from openxt_rpcproxy.v4v import VchanTransport
from openxt_xen.xenstore.client import XenStore

PORT = 5555
MUCH = 3 * 1024 * 1024
PATIENCE = "openxt_xen.vchan.connect.CONNECT_TIMEOUT_S"  # of who offers a stream that nobody joins


@dataclass
class Ends:
    """A transport as the listener has it and as the one that connects has it; who the latter is."""

    listening: Transport
    connecting: Transport
    domid: Domid


@pytest.fixture
def xenstored(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "openxt_sim", "--dir", folder]
        with subprocess.Popen(
            command, env=os.environ | {"OPENXT_ROOT": folder}, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            monkeypatch.setenv("XENSTORED_PATH", f"{folder}/xenstored")
            yield f"{folder}/xenstored"
            process.terminate()


@pytest.fixture(params=["unix", "memory", pytest.param("vchan", marks=pytest.mark.xen)])
async def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Ends:
    if request.param == "unix":
        return Ends(UnixTransport(tmp_path, DOM0), UnixTransport(tmp_path, Domid(7)), Domid(7))
    if request.param == "vchan":
        return Ends(VchanTransport(), VchanTransport(), DOM0)
    rings = MemoryRings(request.getfixturevalue("xenstored"))
    store = await XenStore.connect()
    await store.write("/local/domain/0/domid", "0")
    store.close()
    transport = VchanTransport(rings)
    return Ends(transport, transport, DOM0)


@contextlib.asynccontextmanager
async def serving(ends: Ends, on_stream: OnStream) -> AsyncIterator[Listener]:
    listener = await ends.listening.listen(PORT, on_stream)
    yield listener
    await listener.close()


async def echo(stream: Stream) -> None:
    while data := await stream.reader.read(65536):
        stream.writer.write(data)
        await stream.writer.drain()


async def test_bytes_go_both_ways_and_the_listener_knows_the_domain(ends: Ends) -> None:
    peers: list[Peer] = []

    async def answer(stream: Stream) -> None:
        peers.append(stream.peer)
        await echo(stream)

    async with serving(ends, answer):
        stream = await ends.connecting.connect(DOM0, PORT)
        stream.writer.write(b"to dom0")
        assert await stream.reader.readexactly(7) == b"to dom0"
        assert [peer.domid for peer in peers] == [ends.domid]
        assert stream.peer == Peer(DOM0, PORT)
        stream.writer.close()


async def test_nobody_listening_is_a_refusal(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PATIENCE, 1.0)
    with pytest.raises(ConnectionRefusedError, match="5555 of domain 0"):
        await ends.connecting.connect(DOM0, PORT)


async def test_a_closed_listener_takes_no_further_streams_and_ends_the_open_ones(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(ends, echo) as listener:
        stream = await ends.connecting.connect(DOM0, PORT)
        stream.writer.write(b"x")
        await stream.reader.readexactly(1)
        await listener.close()
        assert await stream.reader.read() == b""
        monkeypatch.setattr(PATIENCE, 1.0)
        with pytest.raises(ConnectionRefusedError):
            await ends.connecting.connect(DOM0, PORT)


@pytest.mark.parametrize("closer", ["listener", "caller"])
async def test_what_was_written_before_the_end_arrives_and_then_the_end(ends: Ends, closer: str) -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(stream: Stream) -> None:
        if closer == "caller":
            got.set_result(await stream.reader.read())
        else:
            stream.writer.write(b"y" * MUCH)

    async with serving(ends, serve):
        stream = await ends.connecting.connect(DOM0, PORT)
        if closer == "caller":
            stream.writer.write(b"y" * MUCH)
            stream.writer.close()
        else:
            got.set_result(await stream.reader.read())
        assert await got == b"y" * MUCH


async def test_who_writes_to_somebody_who_does_not_read_waits(ends: Ends) -> None:
    go_on = asyncio.Event()
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(stream: Stream) -> None:
        await go_on.wait()
        got.set_result(await stream.reader.readexactly(MUCH))

    async with serving(ends, serve):
        stream = await ends.connecting.connect(DOM0, PORT)
        drained = asyncio.create_task(_write(stream, MUCH))
        done, _ = await asyncio.wait(
            {drained, asyncio.create_task(_turns(200))}, return_when="FIRST_COMPLETED"
        )
        assert drained not in done
        go_on.set()
        await drained
        assert await got == bytes(MUCH)
        stream.writer.close()


async def _write(stream: Stream, count: int) -> None:
    for _ in range(count // 65536):
        stream.writer.write(bytes(65536))
        await stream.writer.drain()


async def _turns(count: int) -> None:
    """Let the loop look at everything so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_streams_do_not_mix(ends: Ends) -> None:
    async def talk(number: int) -> None:
        stream = await ends.connecting.connect(DOM0, PORT)
        text = f"{number:04}".encode() * 50_000
        writing = asyncio.create_task(_send(stream, text))
        assert await stream.reader.readexactly(len(text)) == text
        await writing
        stream.writer.close()

    async with serving(ends, echo):
        await asyncio.gather(*(talk(number) for number in range(8)))


async def _send(stream: Stream, data: bytes) -> None:
    stream.writer.write(data)
    await stream.writer.drain()


async def test_a_stream_cut_off_is_the_end_for_the_other_side(ends: Ends) -> None:
    ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(stream: Stream) -> None:
        ended.set_result(await stream.reader.read())

    async with serving(ends, serve):
        stream = await ends.connecting.connect(DOM0, PORT)
        stream.writer.transport.abort()
        assert await ended == b""
