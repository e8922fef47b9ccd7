# SPDX-License-Identifier: GPL-2.0-or-later
"""What every XenStore promises its clients in dom0: the simulated one and C xenstored 4.17.

Speaks the wire protocol by hand, so that order and error names are seen.
Light on imports: these tests also run inside the emulated dom0.
"""

import os
import sys

import pytest
from xenstore_bench import ABSENT, OK, Client, Connect, permissions, set_permissions

from openxt_core.ids import Domid
from openxt_xen.xenstore import paths, wire
from openxt_xen.xenstore.wire import Op, Packet

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
