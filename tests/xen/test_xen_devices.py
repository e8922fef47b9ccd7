# SPDX-License-Identifier: GPL-2.0-or-later
"""xenvm gives disks and network cards to Linux guests on real Xen, and leaves nothing of them.

The guest reads its disks, writes one, pings dom0 over the bridge, and says so on its console.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from linux_guest import Monitored, bridge, end_monitor, nodes, vifs
from xl_guest import run, until

pytestmark = [pytest.mark.xen, pytest.mark.timeout(600)]

BRIDGE, DOM0_ADDRESS = "xbr0", "10.77.0.1"
MAC = "00:16:3e:0a:0b:0c"
BLOCK = 512

INIT = f"""\
echo "GUEST READY"
until [ -b /dev/xvda ] && [ -b /dev/xvdb ]; do usleep 100000; done
echo "GUEST READS $(head -c 9 /dev/xvda) $(head -c 9 /dev/xvdb) ro=$(cat /sys/block/xvdb/ro)"
echo "from the guest" | dd of=/dev/xvda bs={BLOCK} seek=1 conv=fsync 2>/dev/null && echo "GUEST WROTE"
ip addr add 10.77.0.2/24 dev eth0
ip link set eth0 up
echo "GUEST MAC $(cat /sys/class/net/eth0/address)"
until ping -c 1 -w 2 {DOM0_ADDRESS} >/dev/null; do :; done
echo "GUEST PINGED"
while :; do sleep 1000; done
"""


@pytest.fixture
def block_device(tmp_path: Path) -> Iterator[str]:
    """Somebody else's: it must be there afterwards, too."""
    image = tmp_path / "second"
    image.write_bytes(b"seconddsk".ljust(BLOCK * 64, b"\0"))
    device = run("losetup", "--find", "--show", image)
    yield device
    run("losetup", "--detach", device)


@pytest.fixture
def vm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Monitored]:
    """Programs of ours keep their files apart."""
    monkeypatch.setenv("OPENXT_ROOT", str(tmp_path / "root"))
    with bridge(BRIDGE, DOM0_ADDRESS):
        yield Monitored(tmp_path, f"devices-{request.param}", request.param)
        end_monitor()


@pytest.mark.parametrize("vm", ["pv", "pvh"], indirect=True)
def test_a_guest_reads_writes_and_pings_and_leaves_nothing(vm: Monitored, block_device: str) -> None:
    first = vm.folder / "first"
    first.write_bytes(b"first dsk".ljust(BLOCK * 64, b"\0"))
    before, loops = nodes(), run("losetup", "--all")
    guest = vm.start(
        vm.config(
            INIT,
            f"disk = {first}:file:xvda:w:disk:",
            f"disk = {block_device}:phy:xvdb:r:disk:",
            f"vif = bridge={BRIDGE},mac={MAC}",
        )
    )
    guest.wait_until_it_says("GUEST READS first dsk seconddsk ro=1")
    guest.wait_until_it_says("GUEST WROTE")
    guest.wait_until_it_says(f"GUEST MAC {MAC}")
    guest.wait_until_it_says("GUEST PINGED")
    assert vifs() == [f"vif{guest.domid}.0"]
    vm.ask("halt")
    assert first.read_bytes()[BLOCK:].startswith(b"from the guest\n")
    vm.ask("quit")
    assert run("losetup", "--all") == loops
    until(lambda: not vifs(), "netback takes its interface away")
    assert nodes() == before
