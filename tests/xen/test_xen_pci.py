# SPDX-License-Identifier: GPL-2.0-or-later
"""A network card of the emulated machine, given to a PV guest on real Xen.

The machine has no IOMMU.  Xen lets a PV guest have a device all the same: ports, frames and the interrupt are
granted, and only its way into memory, xc_assign_device, is refused.  libxl refuses such a host altogether.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from linux_guest import Monitored, end_monitor, nodes
from xl_guest import LINUX_BOOT_S, run, until

pytestmark = [pytest.mark.xen, pytest.mark.timeout(600)]

CARD, MAC = "0000:00:10.0", "52:54:00:0e:10:00"
IDS = "0x8086:0x100e"
DEVICE = Path("/sys/bus/pci/devices") / CARD

# The address comes from the card's own memory, read by the guest's driver.
PROGRAM = """\
echo "GUEST READY"
while :; do
    for folder in /sys/bus/pci/devices/*; do
        [ -e "$folder/vendor" ] || continue
        for card in "$folder"/net/*; do
            [ -e "$card/address" ] || continue
            echo "GUEST HAS $(cat $folder/vendor):$(cat $folder/device) $(cat $card/address)"
        done
    done
    sleep 1
done
"""


@pytest.fixture
def vm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Monitored]:
    monkeypatch.setenv("OPENXT_ROOT", str(tmp_path / "root"))
    run("modprobe", "xen-pciback")
    yield Monitored(tmp_path, "passing-pv", "pv")
    end_monitor()


def driver() -> str:
    link = DEVICE / "driver"
    return link.resolve().name if link.exists() else ""


def test_a_guest_drives_a_card_of_the_machine_and_gives_it_back(vm: Monitored) -> None:
    before = nodes()
    guest = vm.start(vm.config(PROGRAM, f"pci = 0,bind,{CARD}"))
    guest.wait_until_it_says(f"GUEST HAS {IDS} {MAC}", LINUX_BOOT_S)
    assert driver() == "pciback"
    assert "0 | 0 | 16 | 0 | y" in vm.ask("pci-list")
    vm.ask("halt")
    assert driver() == "pciback"
    assert nodes() == before
    vm.ask("quit")
    # once more, while it runs
    guest = vm.start(vm.config(PROGRAM))
    vm.ask("pci-add", id=0, domain=0, bus=0, slot=16, func=0)
    until(lambda: guest.console().count("GUEST READY") == 2, "the second guest is up", LINUX_BOOT_S)
    seen = guest.console().count(f"GUEST HAS {IDS} {MAC}")
    until(
        lambda: guest.console().count(f"GUEST HAS {IDS} {MAC}") > seen,
        "the guest finds the card",
        LINUX_BOOT_S,
    )
    vm.ask("pci-del", domain=0, bus=0, slot=16, func=0, forced="true")
    assert vm.ask("pci-list").count("\n") == 0
    vm.ask("destroy")
    vm.ask("quit")
    assert nodes() == before


IDE, IDE_IDS = "0000:00:01.1", "0x8086:0x7010"  # of the machine, which has its disks elsewhere

SEEING = """\
echo "GUEST READY"
while :; do
    found=
    for folder in /sys/bus/pci/devices/*; do
        [ -e "$folder/vendor" ] || continue
        found="$found $(cat $folder/vendor):$(cat $folder/device)"
    done
    echo "GUEST SEES$found."
    for card in /sys/bus/pci/devices/*/net/*; do
        [ -e "$card/address" ] && echo "GUEST READS $(cat $card/address)"
    done
    sleep 1
done
"""


def test_another_device_comes_and_goes_beside_one_that_the_guest_drives(vm: Monitored) -> None:
    before = nodes()
    guest = vm.start(vm.config(SEEING, f"pci = 0,bind,{CARD}"))
    guest.wait_until_it_says(f"GUEST READS {MAC}", LINUX_BOOT_S)
    group = f"/local/domain/0/backend/pci/{guest.domid}/0"
    until(
        lambda: run("xenstore-read", f"{group}/state").strip() == "4", "the guest uses its card", LINUX_BOOT_S
    )
    given = {"domain": 0, "bus": 0, "slot": 1, "func": 1}
    for _ in range(2):
        vm.ask("pci-add", id=0, **given)
        seen = guest.console().count(IDE_IDS)
        until(lambda: guest.console().count(IDE_IDS) > seen, "the guest sees both", LINUX_BOOT_S)  # noqa: B023
        assert vm.ask("pci-list").count("\n") == 2
        vm.ask("pci-del", **given)
        assert vm.ask("pci-list").count("\n") == 1
        assert run("xenstore-list", group).split().count("dev-1") == 0
        told = guest.console().count(f"GUEST SEES {IDS}.")
        until(lambda: guest.console().count(f"GUEST SEES {IDS}.") > told + 1, "one is gone", LINUX_BOOT_S)  # noqa: B023
    read = guest.console().count(f"GUEST READS {MAC}")
    until(lambda: guest.console().count(f"GUEST READS {MAC}") > read, "the card still works", LINUX_BOOT_S)
    vm.ask("halt")
    vm.ask("quit")
    assert nodes() == before
