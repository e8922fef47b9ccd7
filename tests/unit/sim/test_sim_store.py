# SPDX-License-Identifier: GPL-2.0-or-later
"""What the simulated xenstored lets guests do, and what follows from domains coming and going.

What dom0 sees of it is in tests/contract/test_xenstore.py, which C xenstored has to pass as well.
"""

import pytest
from sim_bench import Bench

from openxt_core.ids import Domid
from openxt_sim.store import Quotas
from openxt_xen.hypervisor import ShutdownReason
from openxt_xen.xenstore import paths, wire
from openxt_xen.xenstore.wire import Op

OK = b"OK\0"


# Permissions


def test_a_guest_reads_and_writes_only_what_it_is_allowed(bench: Bench) -> None:
    guest = bench.guest(domid := bench.start())
    bench.write("/secret", "x")
    for words, may_read, may_write in (
        (["n0"], False, False),
        (["r0"], True, False),
        (["w0"], False, True),
        (["b0"], True, True),
        (["n0", f"r{domid}"], True, False),
        (["n0", f"w{domid}"], False, True),
        (["n0", f"b{domid}"], True, True),
        ([f"n{domid}"], True, True),
        (["b0", f"n{domid}"], False, False),
        (["n0", f"b{domid + 1}"], False, False),
    ):
        bench.write("/secret", "x")
        assert bench.permit("/secret", *words) == OK
        assert bench.read("/secret", guest) == (b"x" if may_read else "EACCES"), words
        assert bench.write("/secret", "y", guest) == (OK if may_write else "EACCES"), words


def test_a_guest_does_not_learn_which_hidden_nodes_exist(bench: Bench) -> None:
    guest = bench.guest(bench.start())
    bench.write("/hidden/there")
    assert bench.read("/hidden/there", guest) == "EACCES"
    assert bench.read("/hidden/not-there", guest) == "EACCES"
    bench.permit("/hidden", "r0")
    assert bench.read("/hidden/not-there", guest) == "ENOENT"
    assert bench.write("/hidden/not-there", "", guest) == "EACCES"


def test_a_guest_owns_what_it_makes_and_cannot_give_it_away(bench: Bench) -> None:
    guest = bench.guest(domid := bench.start())
    bench.write("/open")
    bench.permit("/open", "b0", "r0")
    assert bench.write("/open/mine", "", guest) == OK
    assert bench.ask(guest, Op.GET_PERMS, b"/open/mine\0") == f"b{domid}\0r0\0".encode()
    assert bench.permit("/open/mine", "n0", peer=guest) == "EPERM"
    assert bench.permit("/open/mine", f"n{domid}", "r0", peer=guest) == OK
    assert bench.permit("/open", "n0", peer=guest) == "EACCES"


def test_relative_paths_of_a_guest_are_in_its_own_folder(bench: Bench) -> None:
    domid = bench.start()
    guest = bench.guest(domid)
    assert bench.read("domid", guest) == str(domid).encode()
    bench.watch("control/shutdown", guest)
    bench.host.tell(domid, "sim.shutdown=ignore")
    bench.write(paths.shutdown_request(domid), "poweroff")
    assert bench.events(guest) == ["control/shutdown"]


@pytest.mark.parametrize(
    ("op", "payload"),
    [
        (Op.INTRODUCE, b"1\0002\0003\0"),
        (Op.RELEASE, b"1\0"),
        (Op.RESUME, b"1\0"),
        (Op.SET_TARGET, b"1\0002\0"),
        (Op.IS_DOMAIN_INTRODUCED, b"1\0"),
        (Op.CONTROL, b"help\0"),
    ],
)
def test_a_guest_cannot_ask_for_what_concerns_domains(bench: Bench, op: Op, payload: bytes) -> None:
    assert bench.ask(bench.guest(bench.start()), op, payload) == "EACCES"


def test_a_stub_domain_has_its_targets_rights(bench: Bench) -> None:
    target, stub = bench.start(), bench.start()
    bench.write("/device-model")
    bench.permit("/device-model", "n0", f"b{target}")
    guest = bench.guest(stub)
    assert bench.read("/device-model", guest) == "EACCES"
    assert bench.ask(bench.dom0, Op.SET_TARGET, wire.terminated([str(stub), str(target)])) == OK
    assert bench.read("/device-model", guest) == b""
    assert bench.read(f"{paths.domain(target)}/control/shutdown", guest) == b""


def test_a_guest_sees_only_events_of_nodes_that_it_may_read(bench: Bench) -> None:
    guest = bench.guest(domid := bench.start())
    bench.write("/a/b")
    bench.watch("/a", guest)
    bench.write("/a/b", "hidden")
    assert bench.events(guest) == []
    bench.permit("/a/b", "r0")
    bench.write("/a/b", "open")
    assert bench.events(guest) == ["/a/b"]
    bench.permit("/a/b", "n0")  # who loses sight of it is told
    bench.write("/a/b", "hidden again")
    assert bench.events(guest) == ["/a/b"]
    bench.permit("/a", "n0", f"r{domid}")  # the parent's readers know of its children
    bench.events(guest)
    bench.write("/a/b", "child")
    assert bench.events(guest) == ["/a/b"]


def test_special_events_go_to_privileged_connections_unless_allowed(bench: Bench) -> None:
    guest = bench.guest(domid := bench.start())
    bench.watch(paths.RELEASE_DOMAIN, guest)
    bench.watch("/", guest)
    bench.host.destroy_domain(bench.start())
    assert bench.events(guest) == []
    assert bench.permit(paths.RELEASE_DOMAIN, "n0", f"r{domid}") == OK
    bench.host.destroy_domain(bench.start())
    assert bench.events(guest) == [paths.RELEASE_DOMAIN]
    assert bench.permit(paths.INTRODUCE_DOMAIN, "b0", peer=guest) == "EACCES"
    assert bench.permit("@other", "n0") == "EINVAL"


# Quotas


def test_quotas_bind_guests(bench: Bench) -> None:
    quotas = Quotas()
    guest = bench.guest(domid := bench.start())
    bench.write("/open")
    bench.permit("/open", "b0")
    made = 0
    while (reply := bench.write(f"/open/n{made}", "", guest)) == OK:
        made += 1
    assert reply == "ENOSPC"
    assert made < quotas.nodes  # the toolstack's gifts count as well
    assert bench.write("/open/n0", "v" * quotas.node_bytes, guest) == "ENOSPC"
    assert bench.permit("/open/n0", *[f"n{domid}"] * 6, peer=guest) == "ENOSPC"
    assert bench.write("/open/dom0", "v" * 3000) == OK


def test_the_quota_of_nodes_is_checked_at_a_commit(bench: Bench) -> None:
    guest = bench.guest(bench.start())
    for folder in range(20):
        bench.write(f"/open/f{folder}")
        bench.permit(f"/open/f{folder}", "b0")
    tx = int(str(bench.ask(guest, Op.TRANSACTION_START, b"\0"), "latin-1").rstrip("\0"))
    for number in range(500):
        assert bench.write(f"/open/f{number % 10}/n{number}", "", guest) == OK
        path = f"/open/f{10 + number % 10}/n{number}"
        assert bench.ask(guest, Op.WRITE, path.encode() + b"\0", tx) == OK
    assert bench.ask(guest, Op.TRANSACTION_END, b"T\0", tx) == "ENOSPC"
    assert bench.ask(bench.dom0, Op.DIRECTORY, b"/open/f10\0") == b""


def test_quotas_of_watches_and_transactions(bench: Bench) -> None:
    quotas = Quotas()
    guest = bench.guest(bench.start())
    replies = [
        bench.ask(guest, Op.WATCH, wire.terminated(["memory", str(n)])) for n in range(quotas.watches + 2)
    ]
    assert replies == [OK] * (quotas.watches + 1) + ["E2BIG"]  # sic: one more than the number
    started = [bench.ask(guest, Op.TRANSACTION_START, b"\0") for _ in range(quotas.transactions + 2)]
    assert started[-1] == "ENOSPC"
    assert "ENOSPC" not in started[:-1]


def test_a_transaction_of_a_guest_touches_a_limited_number_of_nodes(bench: Bench) -> None:
    guest = bench.guest(bench.start())
    bench.permit("/", "r0")
    bench.ask(guest, Op.TRANSACTION_START, b"\0")
    replies = [bench.ask(guest, Op.READ, f"/n{number}\0".encode(), 1) for number in range(1030)]
    assert replies[0] == "ENOENT"
    assert replies[-1] == "ENOSPC"
    assert bench.ask(guest, Op.TRANSACTION_END, b"T\0", 1) == "ENOMEM"


# Domains


def test_introduce_needs_a_built_domain_and_its_port(bench: Bench) -> None:
    domid, port = bench.build()
    assert bench.introduce(Domid(99), 1) == "EINVAL"
    assert bench.introduce(domid, 77) == "EINVAL"
    bench.watch(paths.INTRODUCE_DOMAIN)
    assert bench.introduce(domid, port) == OK
    assert bench.events() == [paths.INTRODUCE_DOMAIN]
    assert bench.introduce(domid, port) == OK  # the ring anew: nobody is told
    assert bench.events() == []


def test_a_release_is_told_at_shutdown_and_again_when_the_domain_is_gone(bench: Bench) -> None:
    bench.watch(paths.RELEASE_DOMAIN)
    domid = bench.start()
    bench.host.shutdown(domid, ShutdownReason.POWEROFF)
    assert bench.events() == [paths.RELEASE_DOMAIN]
    assert bench.ask(bench.dom0, Op.IS_DOMAIN_INTRODUCED, f"{domid}\0".encode()) == b"T\0"
    bench.host.destroy_domain(domid)
    assert bench.events() == [paths.RELEASE_DOMAIN]
    assert bench.ask(bench.dom0, Op.IS_DOMAIN_INTRODUCED, f"{domid}\0".encode()) == b"F\0"


def test_nobody_is_told_of_a_domain_that_was_never_introduced(bench: Bench) -> None:
    bench.watch(paths.RELEASE_DOMAIN)
    domid, _ = bench.build()
    bench.host.destroy_domain(domid)
    assert bench.events() == []


def test_the_end_of_a_resumed_domain_is_told_only_if_its_resume_was(bench: Bench) -> None:
    bench.watch(paths.RELEASE_DOMAIN)
    for told, expected in ((False, []), (True, [paths.RELEASE_DOMAIN])):
        domid = bench.start()
        bench.host.shutdown(domid, ShutdownReason.SUSPEND)
        bench.host.resume(domid, fast=True)
        if told:
            assert bench.ask(bench.dom0, Op.RESUME, f"{domid}\0".encode()) == OK
        bench.events()
        bench.host.shutdown(domid, ShutdownReason.POWEROFF)
        assert bench.events() == expected


def test_release_cuts_a_living_domain_off(bench: Bench) -> None:
    domid = bench.start()
    guest = bench.guest(domid)
    assert bench.ask(bench.dom0, Op.RELEASE, f"{domid}\0".encode()) == OK
    assert not guest.is_open
    assert bench.ask(bench.dom0, Op.RELEASE, f"{domid}\0".encode()) == "ENOENT"


def test_nodes_of_a_dead_domain_go_and_those_of_the_toolstack_stay(bench: Bench) -> None:
    domid = bench.start()
    bench.host.destroy_domain(domid)
    assert bench.read(paths.shutdown_request(domid)) == "ENOENT"
    assert bench.read(paths.name(domid)) == b"test"


def test_rights_end_with_their_domain_and_are_not_inherited_by_its_number(bench: Bench) -> None:
    first = bench.start()
    bench.write("/shared", "x")
    bench.permit("/shared", "n0", f"r{first}")
    assert bench.read("/shared", bench.guest(first)) == b"x"
    bench.host.destroy_domain(first)
    bench.host.machine._next_domid = first
    assert bench.start() == first
    assert bench.read("/shared", bench.guest(first)) == "EACCES"
    bench.write("/shared/new", "x")
    assert bench.read("/shared/new", bench.guest(first)) == "EACCES"


def test_a_permission_for_an_absent_domain_is_not_for_a_later_one(bench: Bench) -> None:
    bench.write("/shared", "x")
    bench.permit("/shared", "n0", "r1")
    assert bench.start() == 1
    assert bench.read("/shared", bench.guest(Domid(1))) == "EACCES"


@pytest.mark.parametrize("payload", [b"", b"/no-nul", b"/tool\0/tool\0", b"/tool\0x"])
def test_read_takes_exactly_one_string(bench: Bench, payload: bytes) -> None:
    assert bench.ask(bench.dom0, Op.READ, payload) == "EINVAL"


def test_what_waits_to_be_read_is_not_said_twice(bench: Bench) -> None:
    bench.watch("/tool")
    for value in ("1", "2", "3"):
        bench.write("/tool/x", value)
    assert bench.events() == ["/tool/x"]


def test_a_root_watch_gets_no_special_events(bench: Bench) -> None:
    bench.watch("/")
    domid, port = bench.build()
    bench.events()
    bench.introduce(domid, port)
    assert bench.events() == []
