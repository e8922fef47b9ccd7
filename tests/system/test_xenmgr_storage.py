# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks as files, through xenmgr: made, attached, keyed, mounted, deleted."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from xenmgr_house import XENMGR, Desk, desk, refused

DISK = "com.citrix.xenclient.vmdisk"

# What stands for blktap and mount on a machine without them: each writes down what it was asked.
STAND_INS = {
    "vhd-util": 'case "$1$4" in create*) : > "$5" ;; key-p) echo none ;; esac',
    "tap-ctl": 'if [ "$1" = create ]; then echo "$TAPDISK2_CRYPTO_KEYDIR" >> {log}; echo /dev/tap7; fi',
    "mount": "[ ! -e {folder}/broken ]",
    "umount": ":",
}


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


@pytest.fixture
async def tapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A host with stand-ins for the programs of blktap."""
    for name, does in STAND_INS.items():
        script = does.format(log=tmp_path / "log", folder=tmp_path)
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/log\n{script}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with desk() as opened:
        yield opened


async def disk_of(it: Desk, path: str, image: str) -> str:
    disk = str(await it.vm(path, "add_disk"))
    await it.call(disk, DISK, "attach_vhd", "s", image)
    return disk


async def test_an_image_is_made_attached_measured_and_deleted_with_its_disk(it: Desk) -> None:
    image = Path(await it.call("/", XENMGR, "create_vhd", "i", 81920))
    path = await it.create()
    disk = await disk_of(it, path, str(image))
    assert await it.get(disk, "virtual-size-mb", DISK) == 81920
    assert 0 < await it.get(disk, "utilization-bytes", DISK) < 1 << 20
    assert await it.get(disk, "encryption-key-set", DISK) is False
    await it.call(disk, DISK, "delete")
    assert not image.exists()


async def test_an_image_that_another_vm_has_or_that_is_shared_stays(it: Desk) -> None:
    image = Path(await it.call("/", XENMGR, "create_vhd", "i", 1))
    one, other = await it.create(), await it.create()
    disks = [await disk_of(it, path, str(image)) for path in (one, other)]
    await it.call(disks[0], DISK, "delete")
    assert image.exists()
    await it.set(disks[1], "shared", "b", True, DISK)
    await it.call(disks[1], DISK, "delete")
    assert image.exists()


async def test_a_size_that_cannot_be_is_refused(it: Desk) -> None:
    assert "size_mb cannot be 0" in await it.fails(it.call("/", XENMGR, "create_vhd", "i", 0))


async def test_only_a_vhd_can_be_mounted_or_have_a_key(it: Desk) -> None:
    disk = str(await it.vm(await it.create(), "add_disk"))
    await it.call(disk, DISK, "attach_phy", "s", "/dev/null")
    calls = [("mount", "sb", "/mnt", True), ("umount", ""), ("generate_crypto_key", "i", 256)]
    for member, signature, *body in calls:
        assert (await it.fails(it.call(disk, DISK, member, signature, *body))).startswith(refused(207))


async def test_an_image_is_mounted_with_its_keys_and_unmounted(tapped: Desk, tmp_path: Path) -> None:
    it = tapped
    image = await it.call("/", XENMGR, "create_vhd", "i", 5)
    path = await it.create()
    disk = await disk_of(it, path, image)
    await it.call(disk, DISK, "generate_crypto_key", "i", 512)
    keys = it.places.at("/config/platform-crypto-keys")
    assert [key.stat().st_size for key in keys.iterdir()] == [64]
    at = it.places.at("/mnt")
    at.mkdir()
    await it.call(disk, DISK, "mount", "sb", "/mnt", True)
    node = f"/xenmgr/mount/{it.uuid(path)}/{disk.rpartition('/')[2]}"
    assert await it.house.xenstore.read(f"{node}/dev") == "/dev/tap7"
    assert await it.house.xenstore.read(f"{node}/path") == str(at)
    assert "mounted already" in await it.fails(it.call(disk, DISK, "mount", "sb", "/mnt", True))
    await it.call(disk, DISK, "umount")
    assert await it.house.xenstore.read(f"{node}/dev") is None
    assert "is not mounted" in await it.fails(it.call(disk, DISK, "umount"))
    told = (tmp_path / "log").read_text().splitlines()
    assert told[-5:] == [
        f"tap-ctl create -R -a vhd:{image}",
        str(keys),
        f"mount -o ro /dev/tap7 {at}",
        f"umount {at}",
        "tap-ctl destroy -d /dev/tap7",
    ]


async def test_a_mount_that_fails_leaves_no_device(tapped: Desk, tmp_path: Path) -> None:
    it = tapped
    (tmp_path / "broken").touch()
    path = await it.create()
    disk = await disk_of(it, path, await it.call("/", XENMGR, "create_vhd", "i", 5))
    it.places.at("/mnt").mkdir()
    text = await it.fails(it.call(disk, DISK, "mount", "sb", "/mnt", False))
    assert text.startswith(refused(223))
    assert (tmp_path / "log").read_text().splitlines()[-1] == "tap-ctl destroy -d /dev/tap7"
    assert await it.house.xenstore.read(f"/xenmgr/mount/{it.uuid(path)}/{disk.rpartition('/')[2]}") is None
