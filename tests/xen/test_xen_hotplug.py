# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that come, go and change under a running Linux guest on real Xen; the guest tells what it sees."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from device_teller import BLOCK, BRIDGE, DOM0_ADDRESS, MAC, PROGRAM, Teller, content, image
from linux_guest import Monitored, bridge, end_monitor, nodes, vifs
from xl_guest import run, until

from effort import effort

pytestmark = [pytest.mark.xen, pytest.mark.timeout(600)]

KEY = bytes(range(32))
SLOW = pytest.mark.skipif(not effort(0, 1), reason="qemu-img measures ciphers for a minute in the emulator")


@pytest.fixture
def vm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Monitored]:
    monkeypatch.setenv("OPENXT_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("XENVM_UNPLUG_S", "15")
    with bridge(BRIDGE, DOM0_ADDRESS):
        yield Monitored(tmp_path, f"hotplug-{request.param}", request.param)
        end_monitor()


def attached() -> tuple[str, list[str]]:
    """Loop devices, and block devices of nbd and dm-crypt that are in use."""
    nbds = [pid.parent.name for pid in Path("/sys/block").glob("nbd*/pid")]
    return run("losetup", "--all"), nbds + [name.name for name in Path("/dev/mapper").glob("*.crypt")]


@pytest.mark.parametrize("vm", ["pv"], indirect=True)
def test_devices_come_and_go_under_a_running_guest(vm: Monitored) -> None:
    guest = vm.start(vm.config(PROGRAM))
    teller, idle, before = Teller(guest, count(1)), attached(), nodes()
    formats = {"file": "raw", "qcow": "qcow2", "vhd": "vpc"}
    for type_, format_ in formats.items():
        disk = image(vm.folder, f"disk.{type_}", f"a {type_:4}dsk", format_)
        vm.ask("disk-add", path=disk, device="xvdb", type=type_, mode="w", devtype="disk")
        teller.says(f"GOT xvdb a {type_:4}dsk ro=0")
        vm.ask("disk-del", device="xvdb")
        teller.says("LOST xvdb")
        assert content(disk, format_)[BLOCK:].startswith(b"from the guest\n")
        assert attached() == idle
    vm.ask("nic-add", bridge=BRIDGE, mac=MAC)
    teller.says(f"GOT eth0 {MAC} and pinged")
    vm.ask("nic-del", id=0)
    teller.says("LOST eth0")
    until(lambda: not vifs(), "netback takes its interface away")
    assert nodes() == before


@pytest.mark.parametrize("mode", ["temporary", pytest.param("temporary-encrypted", marks=SLOW)])
@pytest.mark.parametrize("vm", ["pv"], indirect=True)
def test_discs_change_keys_hide_and_snapshots_are_forgotten(vm: Monitored, mode: str) -> None:
    first, second = (image(vm.folder, f"{word}.iso", f"{word:5}disc") for word in ("one", "two"))
    base = image(vm.folder, "base", "kept disk")
    idle, before = attached(), nodes()
    snapshot = f"disk = {base}:file:xvda:w:disk:{mode}"
    guest = vm.start(vm.config(PROGRAM, snapshot, f"disk = {first}:file:xvdc:r:cdrom:"))
    teller = Teller(guest, count(1))
    teller.says("GOT xvda kept disk ro=0")
    teller.says("GOT xvdc one  disc ro=1")
    # another disc
    vm.ask("cd-insert-file", virtpath="xvdc", physpath=second)
    teller.says("LOST xvdc")
    teller.says("GOT xvdc two  disc ro=1")
    vm.ask("cd-eject", virtpath="xvdc")
    teller.says("LOST xvdc")
    # a disk with a key
    key, secret = vm.folder / "key", image(vm.folder, "secret", "")
    key.write_bytes(KEY)
    line = f"{secret}:file:xvdd:w:disk::key-file={key}:cipher=aes-xts-plain64:key-size=256"
    vm.ask("device", type="disk", cmd="add", extra=line)
    guest.wait_until_it_says(f"GUEST {next(teller.number)} GOT xvdd ", 60)
    vm.ask("disk-del", device="xvdd")
    teller.says("LOST xvdd")
    assert b"from the guest" not in content(secret)
    assert b"from the guest\n" in deciphered(secret, key)
    vm.ask("halt")
    assert content(base)[: BLOCK * 2].rstrip(b"\0") == b"kept disk"
    vm.ask("quit")
    assert attached() == idle
    assert nodes() == before


def deciphered(file: Path, key: Path) -> bytes:
    """As cryptsetup alone reads it."""
    options = ("--type=plain", "--cipher=aes-xts-plain64", "--key-size=256", f"--key-file={key}")
    device = run("losetup", "--find", "--show", file)
    run("cryptsetup", "open", "--batch-mode", *options, device, "check")
    plain = Path("/dev/mapper/check").read_bytes()
    run("cryptsetup", "close", "check")
    run("losetup", "--detach", device)
    return plain
