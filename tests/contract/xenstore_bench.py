# SPDX-License-Identifier: GPL-2.0-or-later
"""A blocking client of a XenStore, and the stores that the contract tests try: simulated, and C xenstored."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

from openxt_xen.xenstore import wire
from openxt_xen.xenstore.channel import default_address
from openxt_xen.xenstore.wire import Op, Packet

ABSENT = 31999  # no domain has this number
OK = b"OK\0"


@pytest.fixture(scope="module", params=["sim", pytest.param("xenstored", marks=pytest.mark.xen)])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "xenstored":
        yield default_address(os.environ)
        return
    with tempfile.TemporaryDirectory() as folder:
        environ = os.environ | {"OPENXT_ROOT": folder}
        command = [sys.executable, "-m", "openxt_sim", "--dir", folder]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield f"{folder}/xenstored"
            process.terminate()


class Client:
    """One blocking connection that keeps everything it receives in order."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(address)
        self._splitter = wire.Splitter()
        self._received: list[Packet] = []
        self._req_id = 0

    def next(self) -> Packet:
        while not self._received:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._received += self._splitter.feed(data)
        return self._received.pop(0)

    def send(self, op: int, payload: bytes = b"", tx: int = 0) -> int:
        self._req_id += 1
        self.socket.sendall(Packet(op, payload, self._req_id, tx).encode())
        return self._req_id

    def call(self, op: int, payload: bytes = b"", tx: int = 0) -> bytes | str:
        """The reply's payload, or the error's name.  Events on the way are kept for `events`."""
        req_id = self.send(op, payload, tx)
        passed = []
        while (packet := self.next()).op == Op.WATCH_EVENT:
            passed.append(packet)
        self._received = passed + self._received
        assert packet.req_id == req_id
        if packet.op == Op.ERROR:
            return packet.payload.rstrip(b"\0").decode()
        assert packet.op == op
        return packet.payload

    def events(self) -> list[tuple[bytes, bytes]]:
        """(path, token) of all events that were sent up to now."""
        assert self.call(Op.GET_DOMAIN_PATH, b"0\0") == b"/local/domain/0\0"
        events, self._received = self._received, []
        assert all(packet.op == Op.WATCH_EVENT for packet in events)
        return [(path, token) for path, token, _ in (packet.payload.split(b"\0") for packet in events)]

    def read(self, path: str, tx: int = 0) -> bytes | str:
        return self.call(Op.READ, wire.terminated([path]), tx)

    def write(self, path: str, value: bytes = b"", tx: int = 0) -> bytes | str:
        return self.call(Op.WRITE, wire.terminated([path]) + value, tx)

    def mkdir(self, path: str, tx: int = 0) -> bytes | str:
        return self.call(Op.MKDIR, wire.terminated([path]), tx)

    def rm(self, path: str, tx: int = 0) -> bytes | str:
        return self.call(Op.RM, wire.terminated([path]), tx)

    def list(self, path: str, tx: int = 0) -> bytes | str:
        return self.call(Op.DIRECTORY, wire.terminated([path]), tx)

    def watch(self, path: str, token: str = "t") -> bytes | str:
        return self.call(Op.WATCH, wire.terminated([path, token]))

    def watching(self, path: str, token: str = "t") -> None:
        """Watch, with the first event taken away."""
        assert self.watch(path, token) == OK
        assert self.events() == [(path.encode(), token.encode())]

    def begin(self) -> int:
        reply = self.call(Op.TRANSACTION_START, b"\0")
        assert isinstance(reply, bytes)
        return int(reply.rstrip(b"\0"))

    def end(self, tx: int, word: bytes = b"T\0") -> bytes | str:
        return self.call(Op.TRANSACTION_END, word, tx)


def permissions(client: Client, path: str) -> bytes | str:
    return client.call(Op.GET_PERMS, wire.terminated([path]))


def set_permissions(client: Client, path: str, *words: str, tx: int = 0) -> bytes | str:
    return client.call(Op.SET_PERMS, wire.terminated([path, *words]), tx)


Connect = Callable[[], Client]


@pytest.fixture
def connect(address: str) -> Iterator[Connect]:
    clients: list[Client] = []

    def make() -> Client:
        clients.append(Client(address))
        return clients[-1]

    yield make
    for client in clients:
        client.socket.close()


@pytest.fixture
def client(connect: Connect) -> Client:
    return connect()


@pytest.fixture
def base(address: str) -> Iterator[str]:
    """A folder of the test's own, empty."""
    path = f"/test-contract-{os.getpid()}"
    cleaner = Client(address)
    cleaner.rm(path)
    assert cleaner.mkdir(path) == OK
    yield path
    cleaner.rm(path)
    cleaner.socket.close()
