# SPDX-License-Identifier: GPL-2.0-or-later
"""The socket to the bus: message boundaries, batches, and every way of ending.  The peer is played here."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio

from keepers import KEEPERS, keeper
from openxt_bus import message as codec
from openxt_bus import wire
from openxt_core.errors import Unavailable

MESSAGE = codec.method_call(5, ("org.test", "/", "org.test.I", "m"), "s", ["text"])


@dataclass
class Ends:
    """Our wire and the peer's end of its socket."""

    peer: socket.socket
    wire: wire.Wire
    received: list[bytes] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    answer: bytes = b""

    def readable(self) -> None:
        """As the loop does when there is something to read."""
        self.wire._receiver.readable()

    def receive(self, data: bytes) -> None:
        self.received.append(data)
        if self.answer:
            self.wire.send(self.answer)

    async def until_received(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.received) < count:
                await asyncio.sleep(0)

    async def until_lost(self) -> None:
        async with asyncio.timeout(10):
            while not self.lost:
                await asyncio.sleep(0)


@pytest.fixture(params=KEEPERS, autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    module = keeper(request.param)
    monkeypatch.setattr(wire, "answer_all", module.answer_all)
    monkeypatch.setattr(wire, "Receiver", module.Receiver)
    return module


@pytest_asyncio.fixture
async def ends() -> AsyncIterator[Ends]:
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    peer.setblocking(False)
    pair: list[Ends] = []
    line = wire.Wire(ours, lambda data: pair[0].receive(data), lambda why: pair[0].lost.append(why))
    pair.append(Ends(peer, line))
    yield pair[0]
    line.close()
    peer.close()


async def test_those_that_find_the_bus_busy_are_connected_when_it_has_time() -> None:
    async def authenticate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"\0AUTH EXTERNAL ")
        writer.write(b"OK 0123\r\n")
        assert await reader.readline() == b"BEGIN\r\n"
        writer.close()

    with tempfile.TemporaryDirectory() as folder:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{folder}/bus")
        listener.listen(1)
        clients = [asyncio.create_task(wire.connect(f"unix:path={folder}/bus")) for _ in range(8)]
        for _ in range(50):  # turns of the loop: each has tried, and six were turned away
            await asyncio.sleep(0)
        async with await asyncio.start_unix_server(authenticate, sock=listener), asyncio.timeout(20):
            for sock in await asyncio.gather(*clients):
                sock.close()


async def test_messages_arrive_whole_however_the_stream_is_cut(ends: Ends) -> None:
    stream = MESSAGE * 3
    for at in range(0, len(stream), 7):
        ends.peer.send(stream[at : at + 7])
        await asyncio.sleep(0)
    await ends.until_received(3)
    assert ends.received == [MESSAGE] * 3


async def test_big_endian_messages_have_their_length_read_as_such(ends: Ends) -> None:
    big = b"B\x04\x00\x01" + (3).to_bytes(4) + (1).to_bytes(4) + (5).to_bytes(4) + bytes(8) + b"abc"
    ends.peer.send(big + MESSAGE)
    await ends.until_received(2)
    assert ends.received == [big, MESSAGE]


@pytest.mark.parametrize("is_alone", [True, False])
async def test_a_message_of_an_unknown_type_is_passed_over(ends: Ends, is_alone: bool) -> None:
    odd = bytearray(MESSAGE)
    odd[1] = 5
    if is_alone:
        ends.peer.send(odd)
        ends.readable()
    else:
        ends.peer.send(odd + MESSAGE)
    ends.peer.send(MESSAGE)
    await ends.until_received(1 if is_alone else 2)
    assert set(ends.received) == {MESSAGE}


async def test_a_lone_message_that_cannot_be_handled_does_not_harm_the_next(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ends, "received", None)  # what it gets cannot be kept
        ends.peer.send(MESSAGE)
        ends.readable()
    ends.peer.send(MESSAGE)
    await ends.until_received(1)
    assert ends.received == [MESSAGE]


async def test_a_message_that_cannot_be_handled_does_not_harm_the_next(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = ends.receive

    def fail_once(data: bytes) -> None:
        monkeypatch.setattr(ends, "receive", receive)
        raise ValueError

    monkeypatch.setattr(ends, "receive", fail_once)
    ends.peer.send(MESSAGE * 2 + MESSAGE[:20])
    await ends.until_received(1)
    ends.peer.send(MESSAGE[20:])
    await ends.until_received(2)
    assert ends.received == [MESSAGE] * 2


async def test_what_answers_a_batch_leaves_in_one_piece(ends: Ends) -> None:
    ends.answer = b"answer"
    ends.peer.send(MESSAGE * 4)
    await ends.until_received(4)
    assert ends.peer.recv(1000) == b"answer" * 4


def know(ends: Ends, quick: SimpleNamespace, run: Callable[[str], str]) -> None:
    """MESSAGE came before."""
    size = int.from_bytes(MESSAGE[12:16], "little")
    fields_size, fields = codec.return_fields(":1.5", "s")
    plan = quick.Plan(run, 1, "s", fields_size, fields, None, lambda *_: b"otherwise")
    ends.wire.answer_by({MESSAGE[16 : 16 + size]: plan})


async def test_what_a_known_call_sends_leaves_before_its_answer(ends: Ends, quick: SimpleNamespace) -> None:
    know(ends, quick, lambda text: (ends.wire.send(b"signal"), text)[1])
    for batch in (1, 3):
        ends.peer.send(MESSAGE * batch)
        ends.readable()
        sent = ends.peer.recv(1000)
        assert sent.startswith(b"signall")  # an answer begins with its byte order
        assert sent.count(b"signal") == sent.count(b"text") == batch
    assert ends.received == []


async def test_known_calls_and_others_are_answered_in_their_order(ends: Ends, quick: SimpleNamespace) -> None:
    know(ends, quick, lambda text: text)
    ends.answer = b"other"
    other = codec.method_call(6, ("org.test", "/", "org.test.I", "n"), "s", ["text"])
    ends.peer.send(MESSAGE + other + MESSAGE * 2 + other[:20])
    ends.readable()
    first, second = ends.peer.recv(1000).split(b"other")
    assert (first.count(b"text"), second.count(b"text")) == (1, 2)
    ends.peer.send(other[20:] + MESSAGE)
    ends.readable()
    assert ends.peer.recv(1000).startswith(b"other")
    assert ends.received == [other, other]


@pytest.mark.parametrize("batch", [1, 2])
async def test_a_known_call_that_closes_the_connection_has_no_answer(
    ends: Ends, quick: SimpleNamespace, batch: int
) -> None:
    """Least of all one to whoever is given the number of its socket next."""
    others: list[tuple[socket.socket, socket.socket]] = []

    def close(text: str) -> str:
        ends.wire.close()
        others.append(socket.socketpair())
        return text

    know(ends, quick, close)
    ends.peer.send(MESSAGE * batch)
    ends.readable()
    assert ends.lost == ["the connection was closed"]
    assert ends.peer.recv(1000) == b""
    for one, other in others:
        with one, other:
            for end in (one, other):
                end.setblocking(False)
                with pytest.raises(BlockingIOError):
                    end.recv(1000)


async def test_a_lone_message_is_sent_at_once(ends: Ends) -> None:
    ends.wire.send(b"now")
    assert ends.peer.recv(1000) == b"now"


async def test_more_than_the_socket_takes_is_sent_in_order_as_it_drains(ends: Ends) -> None:
    pieces = [bytes([number]) * 300_000 for number in range(8)]
    for piece in pieces:
        ends.wire.send(piece)
    loop = asyncio.get_running_loop()
    got = bytearray()
    async with asyncio.timeout(20):
        while len(got) < 8 * 300_000:
            got += await loop.sock_recv(ends.peer, 65536)
    assert got == b"".join(pieces)
    ends.wire.send(b"after")
    assert await loop.sock_recv(ends.peer, 100) == b"after"


async def test_the_end_of_the_stream_is_told_once(ends: Ends) -> None:
    ends.peer.close()
    await ends.until_lost()
    ends.wire.close()
    ends.wire.send(b"ignored")
    assert ends.lost == ["the message bus is gone"]


@pytest.mark.parametrize("garbage", [b"l\x01\0\x02" + bytes(12), b"l\x01\0\x01" + b"\xff" * 12])
async def test_what_can_be_no_message_ends_the_connection(ends: Ends, garbage: bytes) -> None:
    ends.peer.send(garbage)
    await ends.until_lost()
    assert ends.received == []


@pytest.mark.parametrize(
    "address",
    ["", "tcp:host=localhost,port=1", "unix:path=/nowhere/at/all", "nonsense", "unix:path=/dev/null"],
)
async def test_an_address_that_leads_nowhere_is_named(address: str) -> None:
    with pytest.raises(Unavailable) as caught:
        await wire.connect(address)
    assert address in caught.value.text


@pytest.mark.parametrize("answer", [b"REJECTED EXTERNAL\r\n", b"", b"x" * 20_000])
async def test_a_peer_that_does_not_let_us_in_is_unavailable(answer: bytes) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        writer.write(answer)
        writer.close()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a%b,c"
        server = await asyncio.start_unix_server(refuse, path)
        with pytest.raises(Unavailable, match="AUTH EXTERNAL"):
            await wire.connect(f"unix:path=/nowhere;unix:path={folder}/a%25b%2cc,guid=0")
        server.close()
