# SPDX-License-Identifier: GPL-2.0-or-later
"""What every XenStore promises its clients in dom0: the simulated one and C xenstored 4.17.

Speaks the wire protocol by hand, so that order and error names are seen; the last part is our client.
Light on imports: these tests also run inside the emulated dom0.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator

import pytest

from openxt_core.ids import DOM0, Domid
from openxt_xen.xenstore import paths, wire
from openxt_xen.xenstore.batch import Batch
from openxt_xen.xenstore.channel import DEVICES, default_address
from openxt_xen.xenstore.client import XenStore, XenStoreError
from openxt_xen.xenstore.wire import Op, Packet, Permission

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


# Nodes


def test_a_missing_node_is_enoent(client: Client, base: str) -> None:
    assert client.read(f"{base}/a") == "ENOENT"
    assert client.list(f"{base}/a") == "ENOENT"
    assert client.call(Op.GET_PERMS, wire.terminated([f"{base}/a"])) == "ENOENT"


@pytest.mark.parametrize("value", [b"", b"x", b"with\0nul\0", bytes(range(256)), b"v" * 4000])
def test_a_value_is_read_as_it_was_written(client: Client, base: str, value: bytes) -> None:
    assert client.write(f"{base}/a", value) == OK
    assert client.read(f"{base}/a") == value


def test_write_makes_the_parents_empty(client: Client, base: str) -> None:
    assert client.write(f"{base}/a/b/c", b"1") == OK
    assert client.read(f"{base}/a/b") == b""
    assert client.list(f"{base}/a") == b"b\0"


def test_children_are_listed_in_the_order_of_their_creation(client: Client, base: str) -> None:
    for name in ("c", "a", "b"):
        client.write(f"{base}/{name}")
    client.rm(f"{base}/a")
    client.write(f"{base}/a")
    assert client.list(base) == b"c\0b\0a\0"


def test_an_empty_directory_is_an_empty_payload(client: Client, base: str) -> None:
    assert client.list(base) == b""


def test_mkdir_leaves_an_existing_node_alone(client: Client, base: str) -> None:
    client.write(f"{base}/a", b"1")
    assert client.mkdir(f"{base}/a") == OK
    assert client.read(f"{base}/a") == b"1"


def test_rm_takes_the_whole_subtree(client: Client, base: str) -> None:
    client.write(f"{base}/a/b/c", b"1")
    assert client.rm(f"{base}/a") == OK
    assert client.read(f"{base}/a/b/c") == "ENOENT"
    assert client.list(base) == b""


def test_rm_of_a_missing_node_needs_its_parent(client: Client, base: str) -> None:
    assert client.rm(f"{base}/a") == OK
    assert client.rm(f"{base}/a/b") == "ENOENT"


def test_the_root_cannot_be_removed(client: Client) -> None:
    assert client.rm("/") == "EINVAL"


BAD_PATHS = [
    "",
    "//",
    "/test//a",
    "/test/",
    "/test a",
    "/test+",
    "/tést",
    "@releaseDomain",
    "/" + "a" * 2048,
    "a" * 2049,
]


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("op", [Op.READ, Op.WRITE, Op.MKDIR, Op.RM, Op.DIRECTORY, Op.GET_PERMS])
def test_a_malformed_path_is_einval(client: Client, op: Op, path: str) -> None:
    assert client.call(op, wire.terminated([path])) == "EINVAL"


def test_a_path_in_a_domains_folder_may_be_longer(client: Client) -> None:
    name = "a" * 2048
    assert client.read(f"{paths.domain(Domid(ABSENT))}/{name}") == "ENOENT"
    assert client.read(f"{paths.domain(Domid(ABSENT))}/{name}a") == "EINVAL"


def test_a_relative_path_belongs_to_domain_0(client: Client) -> None:
    name = f"test-contract-{os.getpid()}"
    client.write(name, b"here")
    assert client.read(f"/local/domain/0/{name}") == b"here"
    client.rm(name)


def test_write_needs_a_terminated_path(client: Client) -> None:
    assert client.call(Op.WRITE, b"/no-nul") == "EINVAL"


# Large directories


def test_a_listing_that_fits_no_packet_is_e2big_and_comes_in_parts(client: Client, base: str) -> None:
    names = [f"{number:03d}{'n' * 100}" for number in range(60)]
    for name in names:
        client.write(f"{base}/{name}")
    assert client.list(base) == "E2BIG"
    listing, generations = b"", set()
    while not listing.endswith(b"\0\0"):
        part = client.call(Op.DIRECTORY_PART, wire.terminated([base, str(len(listing))]))
        assert isinstance(part, bytes)
        generation, _, rest = part.partition(b"\0")
        generations.add(generation)
        listing += rest
    assert listing.decode().split("\0")[:-2] == names
    assert len(generations) == 1


def test_a_part_behind_the_end_is_empty(client: Client, base: str) -> None:
    part = client.call(Op.DIRECTORY_PART, wire.terminated([base, "10"]))
    assert isinstance(part, bytes)
    assert part.partition(b"\0")[2] == b"\0"


# Permissions


def permissions(client: Client, path: str) -> bytes | str:
    return client.call(Op.GET_PERMS, wire.terminated([path]))


def set_permissions(client: Client, path: str, *words: str, tx: int = 0) -> bytes | str:
    return client.call(Op.SET_PERMS, wire.terminated([path, *words]), tx)


def test_permissions_are_inherited_at_creation(client: Client, base: str) -> None:
    assert set_permissions(client, base, "r0", "b0") == OK
    client.write(f"{base}/a/b")
    assert permissions(client, f"{base}/a/b") == b"r0\0b0\0"
    set_permissions(client, base, "n0")
    assert permissions(client, f"{base}/a/b") == b"r0\0b0\0"


@pytest.mark.parametrize("words", [[], ["x0"], ["r"], ["0"], ["n0", ""]])
def test_malformed_permissions_are_einval(client: Client, base: str, words: list[str]) -> None:
    assert set_permissions(client, base, *words) == "EINVAL"


def test_the_owner_must_exist_but_others_need_not(client: Client, base: str) -> None:
    assert set_permissions(client, base, f"n{ABSENT}") == "ENOENT"
    assert set_permissions(client, base, "n0", f"r{ABSENT}") == OK
    assert permissions(client, base) == f"n0\0r{ABSENT}\0".encode()


# Transactions


def test_a_transaction_shows_its_changes_to_others_only_after_its_commit(
    client: Client, connect: Connect, base: str
) -> None:
    other = connect()
    tx = client.begin()
    client.write(f"{base}/a", b"1", tx)
    assert client.read(f"{base}/a", tx) == b"1"
    assert client.list(base, tx) == b"a\0"
    assert other.read(f"{base}/a") == "ENOENT"
    assert client.read(f"{base}/a") == "ENOENT"
    assert client.end(tx) == OK
    assert other.read(f"{base}/a") == b"1"


def test_an_aborted_transaction_changes_nothing(client: Client, base: str) -> None:
    client.write(f"{base}/a", b"1")
    tx = client.begin()
    client.rm(f"{base}/a", tx)
    client.write(f"{base}/b", b"2", tx)
    assert client.end(tx, b"F\0") == OK
    assert client.list(base) == b"a\0"


def read_a(client: Client, base: str, tx: int) -> None:
    client.read(f"{base}/a", tx)


def write_a(client: Client, base: str, tx: int) -> None:
    client.write(f"{base}/a", b"tx", tx)


def read_missing(client: Client, base: str, tx: int) -> None:
    client.read(f"{base}/new", tx)


def list_base(client: Client, base: str, tx: int) -> None:
    client.list(base, tx)


def make_child(client: Client, base: str, tx: int) -> None:
    client.write(f"{base}/mine", b"", tx)


def permit_a(client: Client, base: str, tx: int) -> None:
    set_permissions(client, f"{base}/a", "b0", tx=tx)


CONFLICTS = [
    # in the transaction, outside
    (read_a, write_a),
    (write_a, write_a),
    (permit_a, write_a),
    (read_a, permit_a),
    (read_missing, lambda c, base, _: c.write(f"{base}/new")),
    (list_base, lambda c, base, _: c.write(f"{base}/new")),
    (make_child, lambda c, base, _: c.write(f"{base}/new")),
    (read_a, lambda c, base, _: c.rm(f"{base}/a")),
    (write_a, lambda c, base, _: c.rm(f"{base}/a")),
    (write_a, lambda c, base, _: (c.rm(f"{base}/a"), c.write(f"{base}/a", b"again"))),
]


@pytest.mark.parametrize(("inside", "outside"), CONFLICTS)
def test_a_commit_fails_when_what_it_saw_was_changed(
    client: Client,
    connect: Connect,
    base: str,
    inside: Callable[[Client, str, int], None],
    outside: Callable[[Client, str, int], object],
) -> None:
    client.write(f"{base}/a", b"1")
    tx = client.begin()
    inside(client, base, tx)
    outside(connect(), base, 0)
    assert client.end(tx) == "EAGAIN"
    assert client.read(f"{base}/a", tx) == "ENOENT"  # the transaction is over
    assert client.read(f"{base}/mine") == "ENOENT"


PEACE = [
    (read_a, lambda c, base, _: c.read(f"{base}/a")),
    (read_a, lambda c, base, _: c.write(f"{base}/new")),
    (write_a, lambda c, base, _: c.write(f"{base}/b", b"2")),
    (list_base, lambda c, base, _: c.write(f"{base}/b", b"2")),
    (lambda c, base, tx: c.write(f"{base}/a/x", b"", tx), lambda c, base, _: c.write(f"{base}/b/x")),
]


@pytest.mark.parametrize(("inside", "outside"), PEACE)
def test_a_commit_succeeds_when_only_other_nodes_were_changed(
    client: Client,
    connect: Connect,
    base: str,
    inside: Callable[[Client, str, int], object],
    outside: Callable[[Client, str, int], object],
) -> None:
    client.write(f"{base}/a", b"1")
    client.write(f"{base}/b", b"1")
    tx = client.begin()
    inside(client, base, tx)
    outside(connect(), base, 0)
    assert client.end(tx) == OK


def test_transactions_have_their_own_errors(client: Client, connect: Connect, base: str) -> None:
    tx = client.begin()
    assert client.call(Op.TRANSACTION_START, b"\0", tx) == "EBUSY"
    assert connect().read(base, tx + 1000) == "ENOENT"
    assert client.end(0) == "ENOENT"
    assert client.end(tx, b"X\0") == "EINVAL"
    assert client.end(tx, b"T") == "EINVAL"
    assert client.end(tx) == OK
    assert client.end(tx) == "ENOENT"


def test_a_transaction_belongs_to_its_connection(client: Client, connect: Connect, base: str) -> None:
    client.begin()
    tx = client.begin()
    assert connect().read(base, tx) == "ENOENT"


def test_a_node_made_and_removed_in_one_transaction_was_never_there(client: Client, base: str) -> None:
    tx = client.begin()
    client.write(f"{base}/a/b", b"1", tx)
    client.rm(f"{base}/a", tx)
    assert client.end(tx) == OK
    assert client.list(base) == b""


# Watches


def test_a_watch_is_acknowledged_and_then_fires_at_once(client: Client, base: str) -> None:
    client.send(Op.WATCH, wire.terminated([f"{base}/missing", "token"]))
    reply, event = client.next(), client.next()
    assert (reply.op, reply.payload) == (Op.WATCH, OK)
    assert event == Packet(Op.WATCH_EVENT, wire.terminated([f"{base}/missing", "token"]))


def test_an_own_change_fires_before_its_reply(client: Client, base: str) -> None:
    client.watching(base)
    client.send(Op.WRITE, wire.terminated([f"{base}/a"]))
    assert [client.next().op, client.next().op] == [Op.WATCH_EVENT, Op.WRITE]


def test_a_watch_sees_its_node_and_all_below_and_nothing_else(
    client: Client, connect: Connect, base: str
) -> None:
    other = connect()
    client.watching(f"{base}/a")
    for path in ("a", "a/b", "a/b/c", "ab", "b"):
        other.write(f"{base}/{path}")
    other.write(base, b"parent")
    expected = [f"{base}/a", f"{base}/a/b", f"{base}/a/b/c"]
    assert client.events() == [(path.encode(), b"t") for path in expected]


def test_making_parents_is_one_event_for_the_node_that_was_asked_for(client: Client, base: str) -> None:
    client.watching(base)
    client.write(f"{base}/a/b/c")
    assert client.events() == [(f"{base}/a/b/c".encode(), b"t")]


def test_what_changes_nothing_fires_nothing(client: Client, base: str) -> None:
    client.write(f"{base}/a")
    client.watching(base)
    client.mkdir(f"{base}/a")
    client.rm(f"{base}/missing")
    client.read(f"{base}/a")
    assert client.events() == []


def test_writing_the_same_value_and_setting_permissions_fire(
    client: Client, connect: Connect, base: str
) -> None:
    client.write(f"{base}/a", b"1")
    client.watching(f"{base}/a")
    assert connect().write(f"{base}/a", b"1") == OK
    assert client.events() == [(f"{base}/a".encode(), b"t")]
    assert set_permissions(connect(), f"{base}/a", "n0") == OK
    assert client.events() == [(f"{base}/a".encode(), b"t")]


def test_rm_tells_watchers_of_the_node_once_and_those_below_exactly(
    client: Client, connect: Connect, base: str
) -> None:
    client.write(f"{base}/a/b/c")
    for path in (base, f"{base}/a/b", f"{base}/a/b/c"):
        client.watching(path, path[-1])
    connect().rm(f"{base}/a")
    seen = [(path.decode().removeprefix(base), token.decode()) for path, token in client.events()]
    assert seen == [("/a/b/c", "c"), ("/a/b", "b"), ("/a", base[-1])]


def test_changes_in_a_transaction_fire_at_its_commit_once_a_node(
    client: Client, connect: Connect, base: str
) -> None:
    other = connect()
    client.watching(base)
    tx = other.begin()
    for value in (b"1", b"2"):
        other.write(f"{base}/a", value, tx)
        other.write(f"{base}/b", value, tx)
    assert client.events() == []
    other.end(tx)
    assert sorted(client.events()) == [(f"{base}/a".encode(), b"t"), (f"{base}/b".encode(), b"t")]


def test_an_aborted_or_failed_transaction_fires_nothing(client: Client, connect: Connect, base: str) -> None:
    other = connect()
    client.watching(f"{base}/a")
    tx = other.begin()
    other.write(f"{base}/a", b"1", tx)
    other.end(tx, b"F\0")
    tx = other.begin()
    other.write(f"{base}/a", b"1", tx)
    client.write(f"{base}/b")
    assert other.end(tx) == "EAGAIN"
    assert client.events() == []


def test_watch_errors(client: Client, base: str) -> None:
    client.watching(base)
    assert client.watch(base) == "EEXIST"
    assert client.watch(base, "another") == OK
    assert client.watch(f"{base}/") == "EINVAL"
    assert client.call(Op.WATCH, wire.terminated([base])) == "EINVAL"
    assert client.call(Op.UNWATCH, wire.terminated([base, "unknown"])) == "ENOENT"
    assert client.call(Op.UNWATCH, wire.terminated([base, "t"])) == OK
    assert client.call(Op.UNWATCH, wire.terminated([base, "t"])) == "ENOENT"


def test_a_token_may_be_any_text(client: Client, base: str) -> None:
    client.call(Op.WATCH, base.encode() + b"\0/t k\xc3\xa9\xff=\0")
    assert client.events() == [(base.encode(), b"/t k\xc3\xa9\xff=")]


def test_a_relative_watch_gets_relative_paths(client: Client) -> None:
    name = f"test-contract-{os.getpid()}"
    client.watching(name)
    client.write(f"/local/domain/0/{name}/a")
    assert client.events() == [(f"{name}/a".encode(), b"t")]
    client.rm(name)


def test_a_watch_ignores_the_transaction_that_it_is_asked_in(client: Client, base: str) -> None:
    assert client.call(Op.WATCH, wire.terminated([base, "t"]), tx=ABSENT) == OK


def test_reset_watches_ends_watches_and_transactions(client: Client, connect: Connect, base: str) -> None:
    client.watching(base)
    tx = client.begin()
    assert client.call(Op.RESET_WATCHES, b"\0") == OK
    connect().write(f"{base}/a")
    assert client.events() == []
    assert client.end(tx) == "ENOENT"


@pytest.mark.parametrize("name", [paths.INTRODUCE_DOMAIN, paths.RELEASE_DOMAIN, "@anything"])
def test_special_watches_fire_at_registration(client: Client, name: str) -> None:
    client.watching(name)


def test_a_watch_of_the_root_sees_every_node(client: Client, base: str) -> None:
    client.watching("/")
    client.write(f"{base}/a")
    assert (f"{base}/a".encode(), b"t") in client.events()


# Domains


def test_the_path_of_a_domain_is_told_whether_it_exists_or_not(client: Client) -> None:
    assert client.call(Op.GET_DOMAIN_PATH, b"31999\0") == b"/local/domain/31999\0"


def test_domain_0_is_introduced_and_an_absent_one_is_not(client: Client) -> None:
    assert client.call(Op.IS_DOMAIN_INTRODUCED, b"0\0") == b"T\0"
    assert client.call(Op.IS_DOMAIN_INTRODUCED, b"31999\0") == b"F\0"


@pytest.mark.parametrize(
    ("op", "words", "error"),
    [
        (Op.INTRODUCE, ["1", "2"], "EINVAL"),
        (Op.INTRODUCE, ["31999", "1", "0"], "EINVAL"),
        (Op.INTRODUCE, ["31999", "1", "text"], "EINVAL"),
        (Op.RELEASE, ["0"], "EINVAL"),
        (Op.RELEASE, ["31999"], "ENOENT"),
        (Op.RESUME, ["31999"], "ENOENT"),
        (Op.SET_TARGET, ["31999"], "EINVAL"),
        (Op.SET_TARGET, ["31999", "0"], "ENOENT"),
        (Op.GET_DOMAIN_PATH, [], "EINVAL"),
        (Op.CONTROL, ["no-such-word"], "EINVAL"),
    ],
)
def test_requests_about_domains_have_their_errors(
    client: Client, op: Op, words: list[str], error: str
) -> None:
    assert client.call(op, wire.terminated(words)) == error


# The wire


@pytest.mark.parametrize("op", [Op.WATCH_EVENT, Op.ERROR, 20, 99, 0xFFFF])
def test_an_unknown_request_is_enosys(client: Client, op: int) -> None:
    assert client.call(op, b"/tool\0") == "ENOSYS"


def test_a_reply_carries_the_ids_of_its_request(client: Client, base: str) -> None:
    tx = client.begin()
    client.socket.sendall(Packet(Op.READ, wire.terminated([base]), 0xFFFFFFFF, tx).encode())
    reply = client.next()
    assert (reply.op, reply.req_id, reply.tx_id) == (Op.READ, 0xFFFFFFFF, tx)


def test_requests_may_come_in_pieces_and_in_bunches(client: Client, base: str) -> None:
    request = Packet(Op.READ, wire.terminated([base]), 7).encode()
    for position in range(len(request)):
        client.socket.sendall(request[position : position + 1])
    client.socket.sendall(request * 10)
    assert [client.next().req_id for _ in range(11)] == [7] * 11


def test_a_payload_above_the_limit_ends_only_that_connection(
    client: Client, connect: Connect, base: str
) -> None:
    bad = connect()
    bad.socket.sendall(Packet(Op.READ, b"", 1).encode()[:12] + (4097).to_bytes(4, sys.byteorder))
    with pytest.raises((EOFError, ConnectionError)):
        bad.next()
    assert client.read(base) == b""


def test_a_closed_connection_takes_its_transactions_with_it(
    client: Client, connect: Connect, base: str
) -> None:
    left = connect()
    left.write(f"{base}/a", b"1", left.begin())
    left.socket.close()
    assert client.read(f"{base}/a") == "ENOENT"


# Our client


@pytest.fixture(params=["socket", pytest.param("device", marks=pytest.mark.xen)])
def way(request: pytest.FixtureRequest, address: str) -> str:
    """How our client reaches that XenStore: in dom0 also through the kernel."""
    if request.param == "socket":
        return address
    if address != default_address(os.environ):
        pytest.skip("the kernel's device leads to the real XenStore")
    return DEVICES[0]


def run(address: str, body: Callable[[XenStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = await XenStore.connect(address)
        try:
            async with asyncio.timeout(60):
                await body(store)
        finally:
            store.close()

    asyncio.run(main())


def test_client_reads_what_it_writes_and_none_for_missing(way: str, base: str) -> None:
    async def body(store: XenStore) -> None:
        await store.write(f"{base}/a", "wörd")
        assert await store.read(f"{base}/a") == "wörd"
        assert await store.read(f"{base}/b") is None
        await store.mkdir(f"{base}/c")
        assert await store.list(base) == ["a", "c"]
        await store.rm(f"{base}/a")
        await store.rm(f"{base}/x/y")
        assert await store.list(f"{base}/c") == []
        assert await store.list(f"{base}/x") == []

    run(way, body)


def test_client_lists_a_directory_that_fits_no_packet(way: str, base: str) -> None:
    async def body(store: XenStore) -> None:
        names = [f"{number:03d}{'n' * 100}" for number in range(60)]
        await asyncio.gather(*(store.mkdir(f"{base}/{name}") for name in names))
        assert await store.list(base) == names

    run(way, body)


def test_client_sets_and_reads_permissions(way: str, base: str) -> None:
    async def body(store: XenStore) -> None:
        wanted = [Permission(DOM0, "r"), Permission(Domid(ABSENT), "b")]
        await store.set_permissions(base, wanted)
        assert await store.get_permissions(base) == wanted

    run(way, body)


def test_client_repeats_a_transaction_that_met_another(way: str, connect: Connect, base: str) -> None:
    other, attempts = connect(), []

    async def body(store: XenStore) -> None:
        async def increase(tx: int) -> int:
            number = int(await store.read(f"{base}/n", tx) or 0)
            if not attempts:
                other.write(f"{base}/n", b"10")
            attempts.append(number)
            await store.write(f"{base}/n", str(number + 1), tx)
            return number

        assert await store.transact(increase) == 10
        assert await store.read(f"{base}/n") == "11"

    run(way, body)
    assert attempts == [0, 10]


def test_client_gives_up_a_transaction_after_its_attempts(way: str, connect: Connect, base: str) -> None:
    other = connect()

    async def body(store: XenStore) -> None:
        async def always_late(tx: int) -> None:
            await store.read(f"{base}/n", tx)
            other.write(f"{base}/n", b"x")

        with pytest.raises(XenStoreError, match="EAGAIN"):
            await store.transact(always_late, attempts=3)

    run(way, body)


def test_client_aborts_a_transaction_whose_body_fails(way: str, base: str) -> None:
    async def body(store: XenStore) -> None:
        async def fail(tx: int) -> None:
            await store.write(f"{base}/a", "1", tx)
            raise KeyError

        with pytest.raises(KeyError):
            await store.transact(fail)
        assert await store.read(f"{base}/a") is None

    run(way, body)


def test_client_carries_out_a_batch_in_order(way: str, base: str) -> None:
    perms = [Permission(DOM0, "r"), Permission(Domid(ABSENT), "b")]

    async def body(store: XenStore) -> None:
        await store.write(f"{base}/a/old", "1")
        batch = Batch()
        batch.rm(f"{base}/a")
        batch.rm(f"{base}/never-there")
        batch.mkdir(f"{base}/a")
        batch.set_permissions(f"{base}/a", perms)
        batch.write(f"{base}/a/new", "2")
        batch.set_permissions(f"{base}/never-there", perms, may_lack=True)
        await store.apply(batch)
        await store.apply(Batch())
        assert await store.list(f"{base}/a") == ["new"]
        assert await store.get_permissions(f"{base}/a") == perms
        assert await store.read(f"{base}/a/new") == "2"

    run(way, body)


def test_client_carries_out_nothing_of_a_batch_that_is_refused(way: str, base: str) -> None:
    async def body(store: XenStore) -> None:
        batch = Batch()
        batch.write(f"{base}/a", "1")
        batch.set_permissions(f"{base}/never-there", [Permission(DOM0, "r")])
        batch.write(f"{base}/b", "1")
        with pytest.raises(XenStoreError, match="ENOENT"):
            await store.apply(batch)
        assert await store.list(base) == []

    run(way, body)


def test_client_hands_events_to_their_watches(way: str, base: str) -> None:
    async def body(store: XenStore) -> None:
        seen: asyncio.Queue[str] = asyncio.Queue()  # an event may come after the answer to the write
        watch = await store.watch(base, seen.put_nowait)
        await store.write(f"{base}/a/b", "1")
        async with asyncio.timeout(50):
            assert [await seen.get(), await seen.get()] == [base, f"{base}/a/b"]
        await watch.close()
        await store.write(f"{base}/a/c", "1")
        assert seen.empty()

    run(way, body)


def test_client_waits_until_a_value_is_right(way: str, connect: Connect, base: str) -> None:
    other = connect()

    async def body(store: XenStore) -> None:
        waiting = asyncio.create_task(store.wait_until(f"{base}/a", lambda value: value == "2", 50))
        await store.read(base)
        other.write(f"{base}/a", b"1")
        other.write(f"{base}/a", b"2")
        assert await waiting == "2"
        assert await store.wait_until(f"{base}/gone", lambda value: value is None, 50) is None
        with pytest.raises(TimeoutError):
            await store.wait_until(f"{base}/a", lambda value: value == "3", 0.01)

    run(way, body)


def test_client_speaks_of_domains(way: str) -> None:
    async def body(store: XenStore) -> None:
        assert await store.is_introduced(DOM0)
        assert not await store.is_introduced(Domid(ABSENT))
        assert await store.domain_path(Domid(ABSENT)) == paths.domain(Domid(ABSENT))
        for ask in (store.resume, store.release):
            with pytest.raises(XenStoreError, match="ENOENT"):
                await ask(Domid(ABSENT))

    run(way, body)
