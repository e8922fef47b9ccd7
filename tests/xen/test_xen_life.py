# SPDX-License-Identifier: GPL-2.0-or-later
"""xenvm leads Linux guests through a whole life on real Xen; what they say on their consoles is the evidence.

The guest counts on its console twice a second and tells its memory each time (`ticks`).
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from xl_guest import LINUX_BOOT_S, Guest, run, until

pytestmark = [pytest.mark.xen, pytest.mark.timeout(240)]

UUID = "11fe7d03-0000-4000-8000-000000000001"
STORY = re.compile(r"GUEST TICK (\d+) MemTotal: +(\d+) kB")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Programs of ours keep their files apart; whatever happens, the monitor and its domain go."""
    monkeypatch.setenv("OPENXT_ROOT", str(tmp_path / "root"))
    yield tmp_path
    for word in ("destroy", "quit"):
        subprocess.run(["xenvm-cmd", UUID, word], capture_output=True, check=False)


@dataclass
class Life:
    """One VM and its monitor."""

    name: str

    def do(self, *words: str) -> str:
        return run("xenvm-cmd", UUID, *words)

    @property
    def guest(self) -> Guest:
        return Guest(self.name, int(self.do("get-domid")))

    def story(self) -> list[tuple[int, int]]:
        """Each tick with the memory then, KiB."""
        return [(int(tick), int(kib)) for tick, kib in STORY.findall(self.guest.console())]

    def tells(self, what: Callable[[int, int], bool], why: str) -> tuple[int, int]:
        """The latest tick, once it is as it should be."""
        until(lambda: self.story() and what(*self.story()[-1]), why, LINUX_BOOT_S)
        return self.story()[-1]

    def is_(self, state: str) -> None:
        until(lambda: self.do("get-status") == state, f"it is {state}")


def begin(folder: Path, kind: str, *lines: str) -> Life:
    name = f"life-{kind}-{folder.name}"
    base = (
        f"uuid = {UUID}",
        f"name = {name}",
        "startup = shutdown",
        f"virt-type = {kind}",
        "kernel = /guest/vmlinux",
        "initrd = /guest/initrd.gz",
        "cmdline = console=hvc0 quiet ticks",
        "memory = 128",
    )
    config = folder / "config"
    config.write_text("\n".join((*base, *lines)))
    run("xenvm", "--config", config)
    life = Life(name)
    life.do("start")
    life.guest.wait_until_it_says("GUEST TICK 2", LINUX_BOOT_S)
    return life


def nodes() -> list[str]:
    """All of XenStore but the line of `/vm` itself."""
    lines = run("xenstore-ls", "-f", "-p").splitlines()
    return [line for line in lines if not line.startswith("/vm = ")]


@pytest.mark.parametrize("kind", ["pv", "pvh"])
def test_a_guest_is_checkpointed_suspended_and_restored_and_goes_on_counting(folder: Path, kind: str) -> None:
    before = nodes()
    disk = folder / "disk"
    disk.write_bytes(b"a disk".ljust(65536, b"\0"))
    life = begin(folder, kind, f"disk = {disk}:file:xvda:w:disk:")
    domid = life.guest.domid

    checkpoint = folder / "checkpoint"
    life.do("checkpoint", str(checkpoint))
    life.is_("running")
    assert life.guest.domid == domid
    at_checkpoint = life.story()[-1][0]
    life.tells(lambda tick, _: tick > at_checkpoint + 1, "it counts on after the checkpoint")

    life.do("suspend", f"file={folder / 'saved'}", "live=true")
    assert life.do("get-status") == "suspended"
    assert nodes() == before
    last = story_of(life.name)[-1]
    life.do("restore", f"file={folder / 'saved'}")
    assert life.guest.domid != domid
    life.tells(lambda tick, _: tick > last + 2, "it counts on after the restore")
    assert story_of(life.name) == list(range(1, story_of(life.name)[-1] + 1))

    life.do("halt")
    life.do("restore", f"file={checkpoint}", "delete=false")
    life.tells(lambda tick, _: at_checkpoint <= tick <= at_checkpoint + 3, "it goes on from the checkpoint")
    life.do("halt")
    life.do("quit")
    assert nodes() == before


def story_of(name: str) -> list[int]:
    """The ticks of the guest whatever its domain is now."""
    return [int(tick) for tick, _ in STORY.findall(Guest(name, -1).console())]


@pytest.mark.parametrize("kind", ["pv", "pvh"])
def test_a_guest_gives_memory_back_and_gets_it_again(folder: Path, kind: str) -> None:
    life = begin(folder, kind)
    _, whole = life.story()[-1]
    life.do("set-mem-target", "mb=96")
    _, less = life.tells(lambda _, kib: kib < whole - 24 * 1024, "it sees less memory")
    life.do("set-mem-target", "mb=128")
    life.tells(lambda _, kib: kib > less + 24 * 1024, "it sees its memory again")


def test_a_crash_is_told_with_its_reason_and_a_reboot_boots_again(folder: Path) -> None:
    life = begin(folder, "pv", "on_crash = restart", "on_restart = restart")
    first = life.guest.domid
    life.guest.order("reboot")
    until(lambda: life.do("get-domid") not in (str(first), "-1"), "it has a new domain")
    life.is_("running")
    second = life.guest.domid
    until(lambda: life.guest.console().count("GUEST READY") == 2, "it boots again", LINUX_BOOT_S)
    run("xenstore-write", f"/local/domain/{second}/control/sysrq", "c")
    until(lambda: life.do("get-domid") not in (str(second), "-1"), "it has a new domain", LINUX_BOOT_S)
    until(lambda: life.guest.console().count("GUEST READY") == 3, "it boots again", LINUX_BOOT_S)
    assert "sysrq triggered crash" in life.guest.console()


def monitor_of() -> int:
    """The process that owns the VM's bus name."""
    reply = run(
        "dbus-send", "--system", "--print-reply=literal", "--dest=org.freedesktop.DBus", "/",
        "org.freedesktop.DBus.GetConnectionUnixProcessID", f"string:org.xen.vm.uuid_{UUID.replace('-', '_')}",
    )  # fmt: skip
    return int(reply.split()[-1])
