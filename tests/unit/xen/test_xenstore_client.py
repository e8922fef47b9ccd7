# SPDX-License-Identifier: GPL-2.0-or-later
"""Our XenStore client against hand-written servers: order, loss, silence, cancellation, the device.

What it does with a real XenStore is in tests/contract/test_xenstore_ours.py.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from openxt_core.errors import InvalidArgs, Unavailable
from openxt_xen.xenstore import client as client_module
from openxt_xen.xenstore import wire
from openxt_xen.xenstore.channel import DeviceChannel, default_address
from openxt_xen.xenstore.client import XenStore
from openxt_xen.xenstore.wire import Op, Packet, Splitter

Answer = Callable[[Packet], list[Packet]]


class Scripted:
    """A server that answers as a function says, and remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[Packet] = []
        self.writers: list[asyncio.StreamWriter] = []
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        splitter = Splitter()
        while data := await reader.read(4096):
            for packet in splitter.feed(data):
                self.requests.append(packet)
                for reply in self._answer(packet):
                    writer.write(reply.encode())
        writer.close()


@asynccontextmanager
async def connected(folder: Path, answer: Answer) -> AsyncIterator[tuple[XenStore, Scripted]]:
    scripted = Scripted(answer)
    address = folder / "xenstored"
    async with await asyncio.start_unix_server(scripted.serve, address), asyncio.timeout(20):
        store = await XenStore.connect(str(address))
        try:
            yield store, scripted
        finally:
            store.close()
            for writer in scripted.writers:
                writer.close()


def silent(_packet: Packet) -> list[Packet]:
    return []


def ok(packet: Packet) -> list[Packet]:
    return [packet.reply(b"7\0" if packet.op == Op.TRANSACTION_START else b"OK\0")]


async def test_replies_find_their_callers_in_any_order(tmp_path: Path) -> None:
    held: list[Packet] = []

    def backwards(packet: Packet) -> list[Packet]:
        held.append(packet)
        return [held.pop().reply(f"{len(held)}".encode()) for _ in range(3)] if len(held) == 3 else []

    async with connected(tmp_path, backwards) as (store, _):
        assert await asyncio.gather(*(store.read(path) for path in ("/a", "/b", "/c"))) == ["0", "1", "2"]


async def test_those_that_find_xenstored_busy_are_connected_when_it_has_time(tmp_path: Path) -> None:
    """C xenstored lets two wait: a further connect fails with EAGAIN, and asyncio takes it for connected."""
    address = tmp_path / "xenstored"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen(1)
    scripted = Scripted(ok)
    clients = [asyncio.create_task(XenStore.connect(str(address))) for _ in range(8)]
    while sum(client.done() for client in clients) < 2:
        await asyncio.sleep(0)
    async with await asyncio.start_unix_server(scripted.serve, sock=listener), asyncio.timeout(20):
        stores = await asyncio.gather(*clients)
        assert await asyncio.gather(*(store.read("/a") for store in stores)) == ["OK\0"] * 8
        for store in stores:
            store.close()
        for writer in scripted.writers:
            writer.close()


LOSS: list[Callable[[XenStore], Awaitable[object]]] = [
    lambda store: store.read("/a"),
    lambda store: store.watch("/a", lambda path: None),
    lambda store: store.wait_until("/a", lambda value: False, 1000),
    lambda store: store.transact(lambda tx: store.read("/a", tx)),
]


@pytest.mark.parametrize("call", LOSS)
async def test_a_lost_connection_fails_pending_and_later_calls(
    tmp_path: Path, call: Callable[[XenStore], Awaitable[object]]
) -> None:
    async with connected(tmp_path, silent) as (store, scripted):
        closed: list[bool] = []
        store.closed = lambda: closed.append(True)
        pending = asyncio.ensure_future(call(store))
        while not scripted.requests:
            await asyncio.sleep(0)
        scripted.writers[0].close()
        with pytest.raises(Unavailable):
            await pending
        with pytest.raises(Unavailable):
            await call(store)
        assert closed == [True]


async def test_wait_until_ends_when_the_connection_is_lost_while_it_waits(tmp_path: Path) -> None:
    async with connected(tmp_path, ok) as (store, scripted):
        waiting = asyncio.ensure_future(store.wait_until("/a", lambda value: False, 1000))
        while not scripted.requests:
            await asyncio.sleep(0)
        scripted.writers[0].close()
        with pytest.raises(Unavailable):
            await waiting


async def test_a_server_that_talks_nonsense_is_left(tmp_path: Path) -> None:
    async with connected(tmp_path, silent) as (store, scripted):
        pending = asyncio.ensure_future(store.read("/a"))
        while not scripted.requests:
            await asyncio.sleep(0)
        scripted.writers[0].write(b"\xff" * 32)
        with pytest.raises(Unavailable):
            await pending


async def test_a_call_that_is_not_answered_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "CALL_TIMEOUT_S", 0.01)
    async with connected(tmp_path, silent) as (store, _):
        with pytest.raises(Unavailable, match="did not answer"):
            await store.read("/a")


async def test_a_cancelled_transaction_is_aborted(tmp_path: Path) -> None:
    async with connected(tmp_path, ok) as (store, scripted):

        async def body(tx: int) -> None:
            started.set()
            await asyncio.Event().wait()

        started = asyncio.Event()
        task = asyncio.create_task(store.transact(body))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.write("/after", "x")
        assert (Op.TRANSACTION_END, b"F\0", 7) in [(p.op, p.payload, p.tx_id) for p in scripted.requests]


async def test_an_event_may_come_before_the_watch_is_acknowledged(tmp_path: Path) -> None:
    def eager(packet: Packet) -> list[Packet]:
        event = Packet(Op.WATCH_EVENT, packet.payload)
        return [event, packet.reply(b"OK\0"), event] if packet.op == Op.WATCH else ok(packet)

    async with connected(tmp_path, eager) as (store, _):
        seen: list[str] = []
        watch = await store.watch("/a", seen.append)
        await store.write("/b", "")
        assert seen == ["/a", "/a"]
        await watch.close()
        await watch.close()


async def test_a_failing_watcher_does_not_deafen_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def twice(packet: Packet) -> list[Packet]:
        return [packet.reply(b"OK\0"), Packet(Op.WATCH_EVENT, packet.payload)]

    def fail(path: str) -> None:
        raise KeyError(path)

    async with connected(tmp_path, twice) as (store, _):
        seen: list[str] = []
        await store.watch("/bad", fail)
        await store.watch("/good", seen.append)
        await store.write("/x", "")
        assert seen == ["/good"]
    assert "/bad" in caplog.text


async def test_a_listing_that_changes_between_its_parts_is_read_again(tmp_path: Path) -> None:
    parts = [b"1\0a\0b\0", b"2\0c\0\0", b"2\0x\0", b"2\0c\0\0"]

    def answer(packet: Packet) -> list[Packet]:
        if packet.op == Op.DIRECTORY:
            return [packet.error("E2BIG")]
        return [packet.reply(parts.pop(0))]

    async with connected(tmp_path, answer) as (store, scripted):
        assert await store.list("/a") == ["x", "c"]
        offsets = [wire.split_terminated(p.payload)[1] for p in scripted.requests[1:]]
        assert offsets == [b"0", b"4", b"0", b"2"]


async def test_what_xenstore_could_not_take_is_refused_here(tmp_path: Path) -> None:
    async with connected(tmp_path, ok) as (store, scripted):
        for call in (
            store.read("/a/"),
            store.write("/a", "x" * 4096),
            store.set_permissions("/a", []),
            store.watch("/a b", print),
        ):
            with pytest.raises(InvalidArgs):
                await call
        await store.write("/a", "")
        assert len(scripted.requests) == 1


async def test_the_device_takes_each_request_in_one_write(tmp_path: Path) -> None:
    """A FIFO opened for both gives back what was written: every request is its own reply."""
    os.mkfifo(tmp_path / "xenbus")
    async with asyncio.timeout(20):
        store = await XenStore.connect(str(tmp_path / "xenbus"))
        assert await asyncio.gather(store.read("/a"), store.read("/b")) == ["/a\0", "/b\0"]
        store.close()
        with pytest.raises(Unavailable):
            await store.read("/a")


async def test_the_device_gets_one_request_at_a_time(tmp_path: Path) -> None:
    """Linux mixes them up or hangs otherwise.  The FIFO's far end plays the kernel, and we say when."""
    os.mkfifo(tmp_path / "xenbus")
    replies: list[Packet] = []
    channel = DeviceChannel(str(tmp_path / "xenbus"), replies.extend, lambda error: None)
    fd = os.open(tmp_path / "xenbus", os.O_RDWR | os.O_NONBLOCK)
    requests = [Packet(op, b"", req_id) for req_id, op in enumerate([Op.READ, Op.READ, Op.WATCH, Op.READ])]
    for request in requests:
        channel.send(request)
    async with asyncio.timeout(20):
        for done, request in enumerate(requests):
            assert os.read(fd, 4096) == request.encode()
            os.write(fd, Packet(Op.WATCH_EVENT, b"").encode() + request.encode())
            while len(replies) < 2 * (done + 1):
                await asyncio.sleep(0)
    assert replies[1::2] == requests
    channel.close()
    os.close(fd)


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nowhere"):
        await XenStore.connect(str(tmp_path / "nowhere"))


def test_the_environment_names_the_socket() -> None:
    assert default_address({"XENSTORED_PATH": "/x"}) == "/x"
    assert default_address({}) in ("/run/xenstored/socket", "/dev/xen/xenbus", "/proc/xen/xenbus")
