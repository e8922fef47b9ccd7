# SPDX-License-Identifier: GPL-2.0-or-later
"""xenvm gives disks and network cards to Linux guests on real Xen, and leaves nothing of them.

The guest reads its disks, writes one, pings dom0 over the bridge, and says so on its console.
"""

import gzip
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from xl_guest import LINUX_BOOT_S, Guest, run, until

pytestmark = [pytest.mark.xen, pytest.mark.timeout(240)]

UUID = "d1357d03-0000-4000-8000-000000000001"
BRIDGE, DOM0_ADDRESS = "xbr0", "10.77.0.1"
MAC = "00:16:3e:0a:0b:0c"
BLOCK = 512

INIT = f"""\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
cd "/lib/modules/$(uname -r)"
while read -r module; do insmod "$module"; done <load.order
mount -t xenfs xenfs /proc/xen
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


def archive(name: str, content: bytes) -> bytes:
    """One executable file as a cpio archive, which a kernel unpacks over the initrd before it.

    Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
    """
    return _entry(name, content, 0o100755) + _entry("TRAILER!!!", b"", 0)


def _entry(name: str, content: bytes, mode: int) -> bytes:
    words = (1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % word for word in words) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 4)


@pytest.fixture
def bridge() -> Iterator[None]:
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "addr", "add", f"{DOM0_ADDRESS}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    yield
    run("ip", "link", "del", BRIDGE)


@pytest.fixture
def block_device(tmp_path: Path) -> Iterator[str]:
    """Somebody else's: it must be there afterwards, too."""
    image = tmp_path / "second"
    image.write_bytes(b"seconddsk".ljust(BLOCK * 64, b"\0"))
    device = run("losetup", "--find", "--show", image)
    yield device
    run("losetup", "--detach", device)


@pytest.fixture
def xenvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs of ours keep their files apart; whatever happens, the monitor and its domain go."""
    monkeypatch.setenv("OPENXT_ROOT", str(tmp_path / "root"))
    yield
    for word in ("destroy", "quit"):
        subprocess.run(["xenvm-cmd", UUID, word], capture_output=True, check=False)


def config(folder: Path, kind: str, block_device: str) -> Path:
    initrd, path = folder / "initrd", folder / "config"
    initrd.write_bytes(Path("/guest/initrd.gz").read_bytes() + gzip.compress(archive("init", INIT.encode())))
    (folder / "first").write_bytes(b"first dsk".ljust(BLOCK * 64, b"\0"))
    lines = (
        f"uuid = {UUID}",
        f"name = devices-{kind}",
        "startup = shutdown",
        f"virt-type = {kind}",
        "kernel = /guest/vmlinux",
        f"initrd = {initrd}",
        "cmdline = console=hvc0 quiet",
        "memory = 128",
        f"disk = {folder / 'first'}:file:xvda:w:disk:",
        f"disk = {block_device}:phy:xvdb:r:disk:",
        f"vif = bridge={BRIDGE},mac={MAC}",
    )
    path.write_text("\n".join(lines))
    return path


def vifs() -> list[str]:
    return [folder.name for folder in Path("/sys/class/net").glob("vif*")]


def nodes() -> list[str]:
    """All of XenStore but the line of `/vm` itself: any toolstack makes it, the last VM may take it along."""
    lines = run("xenstore-ls", "-f", "-p").splitlines()
    return [line for line in lines if not line.startswith("/vm = ")]


@pytest.mark.parametrize("kind", ["pv", "pvh"])
@pytest.mark.usefixtures("bridge", "xenvm")
def test_a_guest_reads_writes_and_pings_and_leaves_nothing(
    tmp_path: Path, kind: str, block_device: str
) -> None:
    before, loops = nodes(), run("losetup", "--all")
    run("xenvm", "--config", config(tmp_path, kind, block_device))
    run("xenvm-cmd", UUID, "start")
    guest = Guest(f"devices-{kind}", int(run("xenvm-cmd", UUID, "get-domid")))
    guest.wait_until_it_says("GUEST READS first dsk seconddsk ro=1", LINUX_BOOT_S)
    guest.wait_until_it_says("GUEST WROTE")
    guest.wait_until_it_says(f"GUEST MAC {MAC}")
    guest.wait_until_it_says("GUEST PINGED")
    assert vifs() == [f"vif{guest.domid}.0"]
    run("xenvm-cmd", UUID, "halt")
    assert (tmp_path / "first").read_bytes()[BLOCK:].startswith(b"from the guest\n")
    run("xenvm-cmd", UUID, "quit")
    assert run("losetup", "--all") == loops
    until(lambda: not vifs(), "netback takes its interface away")
    assert nodes() == before
