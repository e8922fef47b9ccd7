# SPDX-License-Identifier: GPL-2.0-or-later
"""The bed's test guests keep their promises, built by Xen's own tool.  life.h of the tiny guest has these."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from xl_guest import LINUX_BOOT_S, Guest, run, start, until

from openxt_core.ids import Domid
from openxt_xen.hypervisor import ShutdownReason
from openxt_xen.libxc import LibXc

pytestmark = pytest.mark.xen

KINDS = ("pv", "pvh")

ORDERS = (
    ("poweroff", ShutdownReason.POWEROFF),
    ("halt", ShutdownReason.POWEROFF),
    ("reboot", ShutdownReason.REBOOT),
    ("suspend", ShutdownReason.SUSPEND),
    ("crash", ShutdownReason.CRASH),
)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(autouse=True)
def xl_cleans_up(no_domain_is_left: None, libxc: LibXc) -> Iterator[None]:
    """xl also removes what it wrote to xenstore.  It does not wait until the rings are let go; we do."""
    yield
    for line in run("xl", "list").splitlines()[2:]:
        run("xl", "destroy", line.split()[0])
    until(lambda: len(libxc.domains()) == 1, "all guests are gone")


def wait_until_stopped(libxc: LibXc, guest: Guest) -> ShutdownReason:
    def reason() -> list[ShutdownReason]:
        info = libxc.info(Domid(guest.domid))
        return [] if info is None or info.shutdown is None else [info.shutdown]

    return until(reason, f"{guest.name} stops")[0]


def test_a_tiny_guest_says_its_kind_its_command_line_and_its_domid(kind: str) -> None:
    guest = start(f"hello-{kind}", kind, "some words")
    guest.wait_until_it_says(f"GUEST READY domid={guest.domid}\n")
    assert guest.console().startswith(f"GUEST UP type={kind.upper()} cmdline=some words\n")


@pytest.mark.parametrize(("word", "reason"), ORDERS)
def test_a_tiny_guest_obeys(libxc: LibXc, kind: str, word: str, reason: ShutdownReason) -> None:
    guest = start(f"{word}-{kind}", kind)
    guest.wait_until_it_says("GUEST READY")
    guest.order(word)
    assert wait_until_stopped(libxc, guest) is reason
    assert guest.ordered() == ""
    guest.wait_until_it_says(f"GUEST shutdown {word}\n")


@pytest.mark.parametrize(
    ("word", "reason"), [("crash", ShutdownReason.CRASH), ("quit", ShutdownReason.POWEROFF)]
)
def test_a_tiny_guest_stops_by_itself_when_its_command_line_says_so(
    libxc: LibXc, kind: str, word: str, reason: ShutdownReason
) -> None:
    assert wait_until_stopped(libxc, start(f"self-{word}-{kind}", kind, word)) is reason


def test_a_guest_that_ignores_orders_keeps_running(libxc: LibXc, kind: str) -> None:
    deaf = start(f"deaf-{kind}", kind, "ignore")
    obedient = start(f"obedient-{kind}", kind)
    for guest in (deaf, obedient):
        guest.wait_until_it_says("GUEST READY")
        guest.order("poweroff")
    wait_until_stopped(libxc, obedient)
    info = libxc.info(Domid(deaf.domid))
    assert info is not None
    assert not info.is_dead
    assert deaf.ordered() == "poweroff"


def test_a_suspended_guest_goes_on_when_it_is_resumed(libxc: LibXc, kind: str) -> None:
    guest = start(f"resumed-{kind}", kind)
    guest.wait_until_it_says("GUEST READY")
    guest.order("suspend")
    assert wait_until_stopped(libxc, guest) is ShutdownReason.SUSPEND
    libxc.resume(Domid(guest.domid), fast=True)
    guest.wait_until_it_says("GUEST RESUMED\n")
    guest.order("poweroff")
    assert wait_until_stopped(libxc, guest) is ShutdownReason.POWEROFF


def test_a_saved_tiny_pvh_guest_is_alive_after_it_was_restored(libxc: LibXc, tmp_path: Path) -> None:
    saved = start("saved", "pvh")
    saved.wait_until_it_says("GUEST READY")
    run("xl", "save", "saved", tmp_path / "state")
    run("xl", "restore", "-e", tmp_path / "state")
    restored = Guest("saved", int(run("xl", "domid", "saved")))
    restored.wait_until_it_says(f"GUEST READY domid={restored.domid}\n")
    restored.order("poweroff")
    assert wait_until_stopped(libxc, restored) is ShutdownReason.POWEROFF


def test_a_linux_guest_says_its_kind_and_uuid_and_powers_off(libxc: LibXc, kind: str) -> None:
    guest = start(f"linux-{kind}", kind, linux=True)
    guest.wait_until_it_says("GUEST READY", LINUX_BOOT_S)
    info = libxc.info(Domid(guest.domid))
    assert info is not None
    assert f"GUEST UP type={kind.upper()} uuid={info.uuid} " in guest.console()
    guest.order("poweroff")
    assert wait_until_stopped(libxc, guest) is ShutdownReason.POWEROFF
