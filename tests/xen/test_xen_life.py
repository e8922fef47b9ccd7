# SPDX-License-Identifier: GPL-2.0-or-later
"""xenvm leads Linux guests through a whole life on real Xen; what they say on their consoles is the evidence.

The guest counts on its console twice a second and tells its memory each time (`ticks`).  Booting it is
what takes long here, so one boot serves several promises.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from life import Life
from xl_guest import LINUX_BOOT_S, Guest, run, until

from effort import effort

pytestmark = [pytest.mark.xen, pytest.mark.timeout(800)]

UUID = "11fe7d03-0000-4000-8000-000000000001"
KILLS = effort(4, 20)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Programs of ours keep their files apart; whatever happens, the monitor and its domain go."""
    monkeypatch.setenv("OPENXT_ROOT", str(tmp_path / "root"))
    yield tmp_path
    for word in ("destroy", "quit"):
        subprocess.run(["xenvm-cmd", UUID, word], capture_output=True, check=False)


def begin(folder: Path, kind: str, *lines: str) -> Life:
    """A Linux guest that counts, unless other lines say otherwise."""
    name = f"life-{kind}-{folder.name}"
    base = (
        f"uuid = {UUID}",
        f"name = {name}",
        "startup = shutdown",
        f"virt-type = {kind}",
        "kernel = /guest/vmlinux",
        "initrd = /guest/initrd.gz",
        "cmdline = console=hvc0 quiet sysrq_always_enabled ticks",
        "memory = 128",
    )
    config = folder / "config"
    config.write_text("\n".join((*base, *lines)))
    run("xenvm", "--config", config)
    return Life(name, UUID)


TINY = ("initrd = ", "memory = 8")


def nodes() -> list[str]:
    """All of XenStore but the line of `/vm` itself."""
    lines = run("xenstore-ls", "-f", "-p").splitlines()
    return [line for line in lines if not line.startswith("/vm = ")]


@pytest.mark.fresh
def test_a_pv_guest_balloons_is_checkpointed_suspended_restored_and_crashes(folder: Path) -> None:
    before = nodes()
    disk, saved = folder / "disk", folder / "saved"
    disk.write_bytes(b"a disk".ljust(65536, b"\0"))
    life = begin(folder, "pv", f"disk = {disk}:file:xvda:w:disk:")
    life.do("start")
    _, whole = life.tells(lambda tick, _: tick > 1, "it counts")

    life.do("set-mem-target", "mb=96")
    _, less = life.tells(lambda _, kib: kib < whole - 24 * 1024, "it sees less memory")
    life.do("set-mem-target", "mb=128")
    life.tells(lambda _, kib: kib > less + 24 * 1024, "it sees its memory again")

    first = life.domid
    life.do("checkpoint", str(saved))
    assert (life.do("get-status"), life.domid) == ("running", first)
    at_checkpoint = life.ticks()[-1]
    life.tells(lambda tick, _: tick > at_checkpoint + 2, "it runs on after the checkpoint")

    saved.unlink()  # dom0's /tmp has no room for two
    life.do("suspend", f"file={saved}")
    assert life.do("get-status") == "suspended"
    assert nodes() == before
    last = life.ticks()[-1]
    life.do("restore", f"file={saved}")
    second = life.domid
    assert second != first
    life.tells(lambda tick, _: tick > last + 2, "it goes on after the restore")
    assert life.ticks() == list(range(1, life.ticks()[-1] + 1))
    assert not saved.exists()

    run("xenstore-write", f"/local/domain/{second}/control/sysrq", "c")
    until(lambda: life.do("get-status") == "shutdown", "its crash is followed up", LINUX_BOOT_S)
    (note,) = (folder / "root/var/log/xenvm").iterdir()
    assert f"domain {second}, pv: crash" in note.read_text()
    assert "sysrq triggered crash" in Guest(life.name, -1).console()
    life.do("quit")
    assert nodes() == before


@pytest.mark.fresh
def test_a_pvh_guest_is_suspended_while_it_runs_and_goes_on_counting(folder: Path) -> None:
    saved = folder / "saved"
    life = begin(folder, "pvh")
    life.do("start")
    life.tells(lambda tick, _: tick > 1, "it counts")
    life.do("suspend", f"file={saved}", "live=true")
    last = life.ticks()[-1]
    life.do("restore", f"file={saved}")
    life.tells(lambda tick, _: tick > last + 2, "it goes on after the restore")
    assert life.ticks() == list(range(1, life.ticks()[-1] + 1))


@pytest.mark.parametrize("kind", ["pv", "pvh"])
def test_a_guest_that_reboots_is_built_again_with_the_settings_of_now(folder: Path, kind: str) -> None:
    life = begin(folder, kind, f"kernel = /guest/tiny-{kind}", *TINY, "cmdline = one", "on_restart = restart")
    life.do("start")
    first = life.guest
    first.wait_until_it_says("GUEST READY")
    config = folder / "config"
    config.write_text(config.read_text().replace("cmdline = one", "cmdline = two"))
    first.order("reboot")
    first.wait_until_it_says("cmdline=two")
    until(lambda: life.domid not in (first.domid, -1), "it has a new domain")
    until(lambda: life.do("get-status") == "running", "it runs")


# What xl says of the domains, but for the time they used.
def listed() -> list[str]:
    return [" ".join(line.split()[:4]) for line in run("xl", "list").splitlines()]


@pytest.mark.timeout(effort(300, 2400))
def test_killed_at_random_times_the_monitor_is_followed_by_one_that_knows(folder: Path) -> None:
    chance = random.Random(11)
    before = nodes()
    lines = ("kernel = /guest/tiny-pv", *TINY, "cmdline = one")
    life = begin(folder, "pv", *lines)
    life.do("start")
    life.guest.wait_until_it_says("GUEST READY")
    domid, seen = life.domid, listed()
    for _ in range(KILLS):
        word = chance.choice(["get-status", "pause", "unpause", "checkpoint", "set-mem-target"])
        extra = {"checkpoint": [str(folder / "saved")], "set-mem-target": ["mb=8"]}.get(word, [])
        asked = subprocess.Popen(["xenvm-cmd", UUID, word, *extra], stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.0, 0.6))  # the moment is what is tried
        os.kill(monitor_of(), signal.SIGKILL)
        asked.wait()
        begin(folder, "pv", *lines)
        until(lambda: life.do("get-status") in ("running", "paused"), "it is adopted")
        life.do("unpause")
        until(lambda: life.do("get-status") == "running", "it runs")
        assert life.domid == domid
        assert listed() == seen
    life.do("halt")
    life.do("quit")
    assert nodes() == before


def monitor_of() -> int:
    """The process that owns the VM's bus name."""
    name = f"string:org.xen.vm.uuid_{UUID.replace('-', '_')}"
    ask = ("dbus-send", "--system", "--print-reply=literal", "--dest=org.freedesktop.DBus", "/")
    return int(run(*ask, "org.freedesktop.DBus.GetConnectionUnixProcessID", name).split()[-1])
