# SPDX-License-Identifier: GPL-2.0-or-later
"""The blocking client on a real dbus-daemon, and what it says when there is none that works."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from openxt_bus.blocking import BlockingBus, bus_address
from openxt_bus.connection import Bus
from openxt_bus.export import Face, ObjectTree
from openxt_core.errors import InvalidArgs, RemoteError, Unavailable
from openxt_core.signature import Variant
from openxt_core.spec import Arg, Interface, Method, Service

BUS = "org.freedesktop.DBus"
BUS_PATH = "/org/freedesktop/DBus"
NAME = "org.test.Echo"
ECHO = Interface(
    "org.test.echo",
    methods=(
        Method("echo", (Arg("value", "v"),), (Arg("value", "v"),)),
        Method("noisy", (), (Arg("done", "b"),)),
        Method("hang"),
    ),
)


class Echo(Service):
    SPEC = ECHO
    bus: Bus

    def echo(self, value: Variant) -> Variant:
        return value

    def noisy(self) -> bool:
        """A signal to everybody, sent before the answer."""
        self.bus.emit("/", ECHO.name, "noise", "s", ["loud"])
        return True

    async def hang(self) -> None:
        await asyncio.Event().wait()


@pytest_asyncio.fixture
async def echo(bus_address: str) -> AsyncIterator[str]:
    """The address of a bus with an echo on it."""
    server = await Bus.connect(bus_address)
    Echo.bus = server
    tree = ObjectTree()
    tree.route("/", Face(ECHO, Echo))
    server.serve(tree)
    assert await server.request_name(NAME)
    yield bus_address
    server.close()


@contextmanager
def connected(address: str, timeout_s: float = 10) -> Iterator[BlockingBus]:
    bus = BlockingBus(address, timeout_s)
    try:
        yield bus
    finally:
        bus.close()


async def with_bus(address: str, use: Callable[[BlockingBus], None], timeout_s: float = 10) -> None:
    """Use the client beside the loop on which the service runs."""

    def body() -> None:
        with connected(address, timeout_s) as bus:
            use(bus)

    await asyncio.to_thread(body)


def test_a_call_gives_its_out_arguments(bus_address: str) -> None:
    with connected(bus_address) as bus:
        assert bus.call(BUS, BUS_PATH, BUS, "NameHasOwner", "s", [BUS]) == [True]
        assert bus.call(BUS, BUS_PATH, BUS, "AddMatch", "s", ["type='signal'"]) == []


def test_an_error_reply_keeps_name_and_text(bus_address: str) -> None:
    with connected(bus_address) as bus, pytest.raises(RemoteError) as caught:
        bus.call(BUS, BUS_PATH, BUS, "GetNameOwner", "s", ["a.b"])
    assert caught.value.is_absent
    assert "a.b" in caught.value.text


def test_many_calls_are_answered_in_their_order_errors_included(bus_address: str) -> None:
    names = [BUS if number % 3 else "a.b" for number in range(500)]
    with connected(bus_address) as bus:
        answers = bus.call_all([(BUS, BUS_PATH, BUS, "GetNameOwner", "s", [name]) for name in names])
    assert [isinstance(answer, RemoteError) for answer in answers] == [name == "a.b" for name in names]


def test_no_calls_have_no_answers(bus_address: str) -> None:
    with connected(bus_address) as bus:
        assert bus.call_all([]) == []


@pytest.mark.parametrize(
    "value",
    [Variant("s", "häuschen"), Variant("a{sv}", {"a": Variant("ay", b"\xff")}), Variant("s", "x" * 300_000)],
)
async def test_values_travel_unchanged(echo: str, value: Variant) -> None:
    def use(bus: BlockingBus) -> None:
        assert bus.call(NAME, "/", ECHO.name, "echo", "v", [value]) == [value]

    await with_bus(echo, use)


async def test_signals_between_call_and_answer_are_dropped(echo: str) -> None:
    def use(bus: BlockingBus) -> None:
        bus.call(BUS, BUS_PATH, BUS, "AddMatch", "s", [f"type='signal',interface='{ECHO.name}'"])
        for _ in range(3):
            assert bus.call(NAME, "/", ECHO.name, "noisy") == [True]

    await with_bus(echo, use)


async def test_a_service_that_does_not_answer_is_given_up(echo: str) -> None:
    def use(bus: BlockingBus) -> None:
        with pytest.raises(Unavailable, match=r"org\.test\.Echo did not answer hang in 0\.2 s"):
            bus.call(NAME, "/", ECHO.name, "hang")

    await with_bus(echo, use, timeout_s=0.2)


@pytest.mark.parametrize(
    ("destination", "path", "interface", "member", "body"),
    [
        ("no-name", "/", "a.b", "m", "/"),
        ("a.b", "no/path", "a.b", "m", "/"),
        ("a.b", "/", "nointerface", "m", "/"),
        ("a.b", "/", "a.b", "no-member", "/"),
        ("a.b", "/", "a.b", "m", "no/path"),
    ],
)
def test_what_the_bus_would_cut_the_connection_for_is_refused(
    bus_address: str, destination: str, path: str, interface: str, member: str, body: str
) -> None:
    with connected(bus_address) as bus:
        with pytest.raises(InvalidArgs):
            bus.call(destination, path, interface, member, "o", [body])
        assert bus.call(BUS, BUS_PATH, BUS, "NameHasOwner", "s", [BUS]) == [True]


@pytest.mark.parametrize("address", ["unix:path=/nowhere/bus", "tcp:host=localhost,port=1", "", "nonsense"])
def test_a_bus_that_is_not_there_is_unavailable(address: str) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        BlockingBus(address or "unix:")


def test_the_first_address_that_answers_is_taken(bus_address: str) -> None:
    with connected(f"unix:path=/nowhere;{bus_address}") as bus:
        assert bus.call(BUS, BUS_PATH, BUS, "NameHasOwner", "s", [BUS]) == [True]


@contextmanager
def peer(folder: Path, answer: bytes) -> Iterator[str]:
    """Something that listens like a bus, says one thing to whoever connects, and hangs up."""
    path = folder / "peer"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"unix:path={path}"
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "the bus ends the conversation"),
        (b"REJECTED EXTERNAL\r\n", "the bus refuses us"),
        (b"x" * 20000, "does not speak the authentication protocol"),
        (b"OK 0\r\n" + b"x" * 32, "the bus ends the conversation"),
        (b"OK 0\r\nl\x02", "the bus ends the conversation"),
    ],
)
def test_a_peer_that_is_no_bus_is_unavailable(tmp_path: Path, answer: bytes, text: str) -> None:
    with peer(tmp_path, answer) as address, pytest.raises(Unavailable, match=text):
        BlockingBus(address, 10)


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/a")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/b")
    assert (bus_address(), bus_address(session=True)) == ("unix:path=/a", "unix:path=/b")
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS")
    assert bus_address() == "unix:path=/var/run/dbus/system_bus_socket"
    with pytest.raises(Unavailable, match="no session bus"):
        bus_address(session=True)


def test_loading_it_loads_nothing_that_is_slow() -> None:
    slow = {"asyncio", "socket", "enum", "re", "typing", "dataclasses", "logging", "collections", "dbus_fast"}
    code = "import sys; import openxt_bus.blocking; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3] / "src")},
    )
    assert not slow & set(loaded.stdout.split())
