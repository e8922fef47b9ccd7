# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls to the bus of a VM: answers, refusals, and guests that answer anything else."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openxt_bus import codec
from openxt_bus.transport.base import Stream
from openxt_bus.transport.unix import UnixTransport
from openxt_core.errors import OpenxtError, RemoteError, Unavailable
from openxt_core.ids import Domid
from openxt_core.places import Places
from openxt_xenmgr.links import guest_bus
from openxt_xenmgr.links.guest_bus import MAX_ANSWER, PORT, GuestBuses
from openxt_xenmgr.vm.hooks import Rpc

VM = "11111111-2222-3333-4444-555555555555"
GUEST = Domid(7)
HOOK = Rpc("com.example.svc", "com.example.iface", "member", "/x", VM)
Answer = Callable[[Stream], Awaitable[None]]


@asynccontextmanager
async def guest(answer: Answer) -> AsyncIterator[GuestBuses]:
    """A VM whose bus answers so, once the caller has authenticated."""
    with tempfile.TemporaryDirectory(prefix="v4v") as folder:
        places = Places(Path(folder))
        places.v4v.mkdir(parents=True)

        async def serve(stream: Stream) -> None:
            assert stream.peer.domid == 0
            await stream.reader.readuntil(b"\r\n")
            stream.writer.write(b"OK 1234\r\n")
            await stream.reader.readuntil(b"BEGIN\r\n")
            await answer(stream)

        listener = await UnixTransport(places.v4v, GUEST).listen(PORT, serve)
        yield GuestBuses({"OPENXT_V4V": "unix"}, places, {VM: GUEST}.get)
        await listener.close()


async def next_message(stream: Stream) -> codec.Message:
    head = await stream.reader.readexactly(16)
    return codec.decode(head + await stream.reader.readexactly(codec.size_of(head) - 16))


def reply(to: int, kind: int = codec.RETURN, **more: str) -> bytes:
    fields: dict[int, object] = {codec.REPLY_SERIAL: to}
    if more:
        fields[codec.ERROR_NAME] = more["error"]
    return codec.encode(codec.Message(kind, 9, fields))


async def test_a_service_in_the_vm_gets_the_call_with_its_arguments_as_texts() -> None:
    heard: list[codec.Message] = []

    async def answer(stream: Stream) -> None:
        heard.extend([await next_message(stream), await next_message(stream)])
        stream.writer.write(reply(1) + reply(2))

    async with guest(answer) as buses:
        await buses.call(HOOK, ["a", "ü"])
    hello, call = heard
    assert hello.fields[codec.MEMBER] == "Hello"
    assert [call.fields[key] for key in (codec.DESTINATION, codec.PATH, codec.INTERFACE, codec.MEMBER)] == [
        *("com.example.svc", "/x", "com.example.iface", "member")
    ]
    assert list(call.body) == ["a", "ü"]


async def test_an_error_of_the_service_is_told_with_its_name() -> None:
    async def answer(stream: Stream) -> None:
        stream.writer.write(reply(1) + reply(2, codec.ERROR, error="com.example.No"))

    async with guest(answer) as buses:
        with pytest.raises(RemoteError, match=r"com\.example\.No") as refused:
            await buses.call(HOOK, [])
    assert refused.value.name == "com.example.No"


async def test_a_vm_that_does_not_run_has_no_bus() -> None:
    buses = GuestBuses({"OPENXT_V4V": "unix"}, Places(Path("/nonexistent")), {}.get)
    with pytest.raises(Unavailable, match=f"VM {VM} does not run"):
        await buses.call(HOOK, [])


async def test_a_vm_that_does_not_listen_yet_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_bus, "PAUSE_S", 0.0)
    monkeypatch.setattr(guest_bus, "ATTEMPTS", 3)
    asked: list[str] = []

    def domid_of(uuid: str) -> Domid:
        asked.append(uuid)
        return GUEST

    buses = GuestBuses({"OPENXT_V4V": "unix"}, Places(Path("/nonexistent")), domid_of)
    with pytest.raises(Unavailable, match="nobody listens"):
        await buses.call(HOOK, [])
    assert asked == [VM] * 3


@pytest.mark.parametrize("said", [b"", b"junk" * 100, b"\x00" * 64, b"l\x02\x00\x01" + b"\xff" * 12])
async def test_a_guest_that_hangs_up_or_says_no_d_bus_is_unavailable(said: bytes) -> None:
    async def answer(stream: Stream) -> None:
        stream.writer.write(said)

    async with guest(answer) as buses:
        with pytest.raises(Unavailable, match="bus of VM"):
            await buses.call(HOOK, [])


async def test_a_guest_that_talks_without_answering_is_hung_up_on() -> None:
    sent = 0

    async def answer(stream: Stream) -> None:
        nonlocal sent
        signal = codec.encode(
            codec.Message(codec.SIGNAL, 3, {codec.PATH: "/x", codec.INTERFACE: "a.b", codec.MEMBER: "c"})
        )
        while not stream.writer.is_closing():
            stream.writer.write(signal * 100)
            sent += 100 * len(signal)
            await stream.writer.drain()

    async with guest(answer) as buses:
        with pytest.raises(Unavailable, match="without an answer"):
            await buses.call(HOOK, [])
    assert sent >= MAX_ANSWER


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_whatever_a_guest_says_is_an_answer_or_an_error_of_ours(said: bytes) -> None:
    async def once() -> None:
        async def answer(stream: Stream) -> None:
            stream.writer.write(said)

        async with guest(answer) as buses:
            try:
                await buses.call(HOOK, [])
            except OpenxtError:
                return

    asyncio.run(once())
