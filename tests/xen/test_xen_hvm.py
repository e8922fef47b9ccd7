# SPDX-License-Identifier: GPL-2.0-or-later
"""HVM domains of xenvm on real Xen: hvmloader, SeaBIOS and Debian's QEMU boot a guest from its disk.

In QEMU's emulation of a processor with virtualisation about four boots in ten hang in the BIOS: a timer's
interrupt in real mode comes back to a wrong code segment.  xl's do, too.  Where the emulator's clocks go by
instructions none of six did, so these tests want `bed test --counted` (`make xen-hvm`); one that hangs
nevertheless is started once more, and says so.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from linux_guest import nodes
from xl_guest import Guest, run, until

pytestmark = [
    pytest.mark.xen,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        os.environ.get("OPENXT_BED") != "counted",
        reason="four BIOS boots in ten hang unless the emulator's clocks go by instructions: make xen-hvm",
    ),
]

UUID = "d1357d03-0000-4000-8000-000000000003"
CMDLINE_AT, CMDLINE_BYTES = 0x100, 240  # in the guest's boot sector
BIOS_S = 30.0  # 4 in the middle
ATTEMPTS = 2


@pytest.fixture(autouse=True)
def xenvm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs of ours keep their files apart; whatever happens, the monitor and its domain go."""
    with tempfile.TemporaryDirectory(prefix="hvm", dir="/run") as root:  # short: sockets are in it
        monkeypatch.setenv("OPENXT_ROOT", root)
        yield
        for word in ("destroy", "quit"):
            subprocess.run(["xenvm-cmd", UUID, word], capture_output=True, check=False)


@dataclass(frozen=True)
class Machine:
    """An HVM guest with a disk of its own and a serial line into a file."""

    folder: Path
    name: str

    @property
    def serial(self) -> Path:
        return self.folder / "serial"

    def said(self) -> str:
        return self.serial.read_text() if self.serial.exists() else ""

    def config(self, *more: str, words: str = "") -> Path:
        disk, path = self.folder / "disk", self.folder / "config"
        shutil.copy("/guest/tiny-hvm.img", disk)
        with disk.open("r+b") as image:
            image.seek(CMDLINE_AT)
            image.write(words.encode().ljust(CMDLINE_BYTES, b"\0"))
        lines = (
            f"uuid = {UUID}",
            f"name = {self.name}",
            "startup = shutdown",
            "hvm = true",
            "memory = 32",
            *("pae = true", "acpi = true", "apic = true", "nx = true"),
            "display = none",
            f"serial = file:{self.serial}",
            "qemu-dm-path = /usr/sbin/svirt-interpose",
            f"disk = {disk}:file:hda:w:disk:",
            *more,
        )
        path.write_text("\n".join(lines))
        return path

    def start(self) -> Guest:
        """Until its BIOS has found the disk."""
        for attempt in range(ATTEMPTS):
            self.serial.unlink(missing_ok=True)
            run("xenvm-cmd", "--reply-timeout", "150", UUID, "start")
            try:
                until(lambda: "GUEST BOOTED" in self.said(), "the BIOS boots the disk", BIOS_S)
            except AssertionError:
                print(f"the emulator's known fault: boot {attempt + 1} hangs in the BIOS")
                run("xenvm-cmd", UUID, "destroy")
                continue
            return Guest(self.name, int(run("xenvm-cmd", UUID, "get-domid")))
        raise AssertionError(f"no boot in {ATTEMPTS}: {run('xl', 'dmesg')[-2000:]}")


def models() -> list[str]:
    """Device models of anybody."""
    found = subprocess.run(["pgrep", "-f", "xen-domid"], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_an_hvm_guest_boots_from_its_disk_says_who_it_is_and_leaves_nothing(tmp_path: Path) -> None:
    before, loops = nodes(), run("losetup", "--all")
    machine = Machine(tmp_path, "hvm-boot")
    run("xenvm", "--config", machine.config(words="from the disk"))
    guest = machine.start()
    assert len(models()) == 1
    guest.wait_until_it_says("GUEST UP type=HVM cmdline=from the disk")
    guest.wait_until_it_says(f"GUEST READY domid={guest.domid}")
    until(lambda: f"GUEST IS /vm/{UUID}" in machine.said(), "the guest names its VM")
    run("xenvm-cmd", UUID, "halt")
    guest.wait_until_it_says("GUEST shutdown poweroff")
    assert run("xenvm-cmd", UUID, "get-status") == "shutdown"
    run("xenvm-cmd", UUID, "quit")
    assert models() == []
    assert run("losetup", "--all") == loops
    assert nodes() == before


def test_a_guest_that_reboots_is_built_again_and_its_crash_is_noted(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "hvm-ends")
    run("xenvm", "--config", machine.config("on_restart = restart"))
    first = machine.start()
    first.wait_until_it_says(f"GUEST READY domid={first.domid}")
    first.order("reboot")
    first.wait_until_it_says("GUEST shutdown reboot")
    until(lambda: first.console().count("GUEST UP type=HVM") == 2, "it boots again", BIOS_S)
    second = Guest(machine.name, int(run("xenvm-cmd", UUID, "get-domid")))
    assert second.domid not in (first.domid, -1)
    second.wait_until_it_says(f"GUEST READY domid={second.domid}")
    second.order("crash")
    until(lambda: run("xenvm-cmd", UUID, "get-status") == "shutdown", "its crash is followed up")
    (note,) = Path(os.environ["OPENXT_ROOT"], "var/log/xenvm").glob("crash-*")
    assert f"domain {second.domid}, hvm: crash" in note.read_text()
    assert models() == []


def test_a_guest_that_finds_nothing_to_boot_is_stopped_in_its_bios(tmp_path: Path) -> None:
    """It has no drivers for Xen, and nobody who would look at its power button."""
    before = nodes()
    machine = Machine(tmp_path, "hvm-bios")
    config = machine.config()
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    run("xenvm", "--config", config)
    for word in ("halt", "reboot"):
        run("xenvm-cmd", "--reply-timeout", "150", UUID, "start")
        run("xenvm-cmd", UUID, word)
        assert run("xenvm-cmd", UUID, "get-domid") == "-1"
        assert models() == []
    run("xenvm-cmd", UUID, "quit")
    assert nodes() == before


def test_a_device_model_that_cannot_start_undoes_the_domain(tmp_path: Path) -> None:
    before = nodes()
    machine = Machine(tmp_path, "hvm-failing")
    run("xenvm", "--config", machine.config("extra-hvm = no-such-option"))
    started = subprocess.run(
        ["xenvm-cmd", "--reply-timeout", "150", UUID, "start"], capture_output=True, text=True, check=False
    )
    assert started.returncode == 1
    assert "Ioemu_failed" in started.stderr
    assert "no-such-option" in started.stderr
    assert run("xenvm-cmd", UUID, "get-status") == "shutdown"
    assert models() == []
    assert nodes() == before
