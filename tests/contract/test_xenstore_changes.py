# SPDX-License-Identifier: GPL-2.0-or-later
"""Transactions and watches, as every XenStore promises them: the simulated one and C xenstored 4.17."""

import os
from collections.abc import Callable

import pytest
from xenstore_bench import ABSENT, OK, Client, Connect, set_permissions

from openxt_xen.xenstore import paths, wire
from openxt_xen.xenstore.wire import Op, Packet

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
