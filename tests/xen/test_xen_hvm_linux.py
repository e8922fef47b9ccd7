# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest in a full machine of xenvm on real Xen: hvmloader, SeaBIOS, Debian's QEMU.

QEMU hands the kernel to the BIOS a byte at a time, and all that is emulated twice: a boot takes minutes.  So
one life keeps all promises; what the guest tells on its console is the evidence.  Only in `make xen-hvm`: see
test_xen_hvm.py.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from device_teller import BLOCK, BRIDGE, DOM0_ADDRESS, MAC, PROGRAM, Teller, content, image
from life import Life
from linux_guest import UUID, Monitored, bridge, end_monitor
from xl_guest import Guest, run, until

from guest_files import archive, of_dom0

pytestmark = [
    pytest.mark.xen,
    pytest.mark.timeout(1100),
    pytest.mark.skipif(
        os.environ.get("OPENXT_BED") != "counted",
        reason="a BIOS boot hangs unless the emulator's clocks go by instructions: make xen-hvm",
    ),
]

BOOT_S = 300.0  # 115 in the middle
CRASH_WORDS = "sysrq_always_enabled xen_legacy_crash"  # else Linux in a full machine tells Xen of no crash
SECOND_MAC = "00:16:3e:0a:0b:0e"
STILL_S = 3.0  # it would count six times
ASLEEP = "3"

# Who it is, how far it has counted, which disc it finds in its emulated drive.  The request to sleep is for a
# guest's tools: Linux itself does not know it.
TELLER = """\
echo "GUEST UP type=$(cat /sys/hypervisor/guest_type) uuid=$(cat /sys/hypervisor/uuid)"
ticks() {
    tick=0
    while :; do
        tick=$((tick + 1))
        echo "GUEST TICK $tick $(grep MemTotal: /proc/meminfo)"
        usleep 500000
    done
}
discs() {
    echo 0 >/proc/sys/dev/cdrom/lock # else a tray that is being read does not open
    last=
    while :; do
        disc="$(head -c 8 /dev/sr0 2>/dev/null)"
        [ "$disc" = "$last" ] || echo "GUEST DISC '$disc'"
        last="$disc"
        usleep 500000
    done
}
sleeps() {
    export PATH=/usr/bin:/bin:/sbin
    while :; do
        if [ "$(xenstore-read control/shutdown 2>/dev/null)" = s3 ]; then
            xenstore-write control/shutdown ""
            echo deep >/sys/power/mem_sleep
            echo mem >/sys/power/state && echo "GUEST AWAKE"
        fi
        usleep 500000
    done
}
ticks &
discs &
sleeps &
"""


@dataclass
class Machine:
    """The guest and what it has."""

    vm: Monitored
    root: Path
    life: Life = field(init=False)
    teller: Teller = field(init=False)
    saved: Path = field(init=False)

    def __post_init__(self) -> None:
        self.life = Life(self.vm.name, UUID)
        self.saved = self.vm.folder / "saved"

    @property
    def said(self) -> str:
        return Guest(self.vm.name, -1).console()

    def boots(self) -> int:
        return self.said.count(f"GUEST UP type=HVM uuid={UUID}")

    def start(self) -> None:
        folder = self.vm.folder
        lines = (
            f"cmdline = console=hvc0 quiet {CRASH_WORDS}",
            *("pae = true", "acpi = true", "apic = true", "nx = true"),
            *("display = none", "serial = none", "qemu-dm-path = /usr/sbin/svirt-interpose"),
            f"disk = {image(folder, 'disk', 'kept disk')}:file:xvda:w:disk:",
            f"disk = {image(folder, 'one', 'disc one')}:file:hdc:r:cdrom:",
            f"nic = id=0,bridge={BRIDGE},mac={MAC}",
        )
        run("xenvm", "--config", self.vm.config(TELLER + PROGRAM, *lines))
        add_tools(folder / "initrd")
        self.life.do("start")
        until(self.boots, "it boots", BOOT_S)
        self.teller = Teller(self.life.guest, count(1))

    def counts_on(self) -> None:
        """All that it ever counted is in one row."""
        before = self.life.ticks()[-1]
        self.life.tells(lambda tick, _: tick > before + 2, "it goes on counting")
        assert self.life.ticks() == list(range(1, self.life.ticks()[-1] + 1))


def add_tools(initrd: Path) -> None:
    """Another archive behind those that are there; one begins at a multiple of four bytes."""
    padding = bytes(-initrd.stat().st_size % 4)
    with initrd.open("ab") as file:
        file.write(padding + archive({**of_dom0("xenstore-read"), **of_dom0("xenstore-write")}))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with (
        tempfile.TemporaryDirectory(prefix="hvm", dir="/run") as root,  # short: sockets are in it
        bridge(BRIDGE, DOM0_ADDRESS),
    ):
        monkeypatch.setenv("OPENXT_ROOT", root)
        yield Machine(Monitored(tmp_path, "hvm-linux", "hvm"), Path(root))
        end_monitor()


def test_a_linux_guest_leads_a_whole_life_in_a_full_machine(machine: Machine) -> None:
    machine.start()
    uses_what_it_has(machine)
    discs_change(machine)
    memory_goes_and_comes(machine)
    stands_still_while_paused(machine)
    devices_come_and_go(machine)
    is_checkpointed(machine)
    is_suspended_and_restored(machine)
    halts(machine)
    goes_on_from_its_file(machine)
    crashes(machine)
    goes_on_from_its_file(machine)
    sleeps_and_wakes(machine)


def uses_what_it_has(machine: Machine) -> None:
    """By the drivers for Xen; dom0 sees what it wrote."""
    for told in (f"GOT eth0 {MAC} and pinged\n", "GOT xvda kept disk ro=0\n"):  # in either order
        machine.life.guest.wait_until_it_says(told, 60)
        next(machine.teller.number)
    assert content(machine.vm.folder / "disk")[BLOCK:].startswith(b"from the guest\n")


def discs_change(machine: Machine) -> None:
    guest, second = machine.life.guest, image(machine.vm.folder, "two", "disc two")
    guest.wait_until_it_says("GUEST DISC 'disc one'")
    machine.vm.ask("cd-eject", virtpath="hdc")
    guest.wait_until_it_says("GUEST DISC ''", 60)
    machine.vm.ask("cd-insert-file", virtpath="hdc", physpath=second)
    guest.wait_until_it_says("GUEST DISC 'disc two'", 60)


def memory_goes_and_comes(machine: Machine) -> None:
    life = machine.life
    _, whole = life.story()[-1]
    life.do("set-mem-target", "mb=96")
    _, less = life.tells(lambda _, kib: kib < whole - 24 * 1024, "it sees less memory")
    life.do("set-mem-target", "mb=128")
    life.tells(lambda _, kib: kib > less + 24 * 1024, "it sees its memory again")


def stands_still_while_paused(machine: Machine) -> None:
    life = machine.life
    life.do("pause")
    assert life.do("get-status") == "paused"
    last = life.ticks()[-1]
    time.sleep(STILL_S)  # nobody tells that nothing happens
    assert life.ticks()[-1] <= last + 1
    life.do("unpause")
    machine.counts_on()


def devices_come_and_go(machine: Machine) -> None:
    vm, teller = machine.vm, machine.teller
    disk = image(vm.folder, "plugged", "disk more")
    vm.ask("disk-add", path=disk, device="xvdb", type="file", mode="w", devtype="disk")
    teller.says("GOT xvdb disk more ro=0")
    vm.ask("disk-del", device="xvdb")
    teller.says("LOST xvdb")
    assert content(disk)[BLOCK:].startswith(b"from the guest\n")
    vm.ask("nic-del", id=0)
    teller.says("LOST eth0")
    vm.ask("nic-add", bridge=BRIDGE, mac=SECOND_MAC)
    teller.says(f"GOT eth0 {SECOND_MAC} and pinged")


def is_checkpointed(machine: Machine) -> None:
    life, before = machine.life, machine.life.domid
    life.do("checkpoint", str(machine.saved))
    assert (life.do("get-status"), life.domid) == ("running", before)
    machine.saved.unlink()  # dom0's /tmp has no room for two
    machine.counts_on()


def is_suspended_and_restored(machine: Machine) -> None:
    life, before = machine.life, machine.life.domid
    life.do("suspend", f"file={machine.saved}")
    assert life.do("get-status") == "suspended"
    assert machine.vm.name not in run("xl", "list")
    life.do("restore", f"file={machine.saved}", "delete=false")
    assert life.domid != before
    machine.counts_on()


def halts(machine: Machine) -> None:
    machine.life.do("halt")
    assert "GUEST shutdown poweroff" in machine.said
    assert machine.life.do("get-status") == "shutdown"


def goes_on_from_its_file(machine: Machine) -> None:
    life, told = machine.life, len(machine.life.ticks())
    life.do("restore", f"file={machine.saved}", "delete=false")
    until(lambda: len(life.ticks()) > told + 2, "it goes on from where it was saved")


def crashes(machine: Machine) -> None:
    life, domid = machine.life, machine.life.domid
    run("xenstore-write", f"/local/domain/{domid}/control/sysrq", "c")
    until(lambda: life.do("get-status") == "shutdown", "its crash is followed up", 90)
    assert "sysrq triggered crash" in machine.said
    (note,) = (machine.root / "var/log/xenvm").glob("crash-*")
    assert f"domain {domid}, hvm: crash" in note.read_text()


def sleeps_and_wakes(machine: Machine) -> None:
    life = machine.life
    life.do("s3suspend", "timeout=120")
    assert life.do("get-acpi-state") == ASLEEP
    told = len(life.ticks())
    time.sleep(STILL_S)  # nobody tells that nothing happens
    assert len(life.ticks()) <= told + 1
    life.do("trigger", "params=s3resume")
    until(lambda: "GUEST AWAKE" in machine.said, "it wakes", 60)
    until(lambda: len(life.ticks()) > told + 2, "it goes on counting")
