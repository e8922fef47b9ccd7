# SPDX-License-Identifier: GPL-2.0-or-later
"""Measured VMs, and kernels that are in a VM's own disk: real file systems, through xenmgr."""

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from xenmgr_house import Desk, desk, refused

from disk_images import converted, debugfs, ext4, needs_root
from openxt_api.xenmgr import XENMGR_CONFIG
from openxt_api.xenmgr_vm_why import XENMGR_VM_WHY
from openxt_xenmgr.properties.config import POWER_ACTIONS

pytestmark = needs_root

KERNEL = b"the guest's own kernel" * 1000
DOES = {
    "poweroff": "/sbin/poweroff",
    "reboot": "/sbin/reboot",
    "sleep": "/usr/share/xenclient/enter-s3.sh",
}
PROGRAM_OF = {
    "sleep": "sleep",
    "hibernate": "poweroff",
    "shutdown": "poweroff",
    "forced-shutdown": "poweroff",
    "reboot": "reboot",
    "nothing": "",
}


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    """A host whose power programs write down that they were run."""
    async with desk() as opened:
        for name, path in DOES.items():
            program = opened.places.at(path)
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(f"#!/bin/sh\necho {name} >> {opened.places.at('/ran')}\n")
            program.chmod(0o755)
        yield opened


@pytest.fixture
def image(it: Desk, tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "boot").mkdir(parents=True)
    (tree / "boot/vmlinuz").symlink_to("/boot/vmlinuz-6.1")
    (tree / "boot/vmlinuz-6.1").write_bytes(KERNEL)
    (tree / "boot/initrd").write_bytes(b"initrd")
    (tree / "etc").mkdir()
    (tree / "etc/passwd").write_text("root:x:0:0")
    return ext4(it.places.storage / "disk.img", tree)


def tamper(image: Path) -> None:
    """Somebody is made root who was not."""
    debugfs(image, "set_inode_field /etc/passwd uid 1000")


def disk(image: Path, type: str = "file", **more: str) -> dict[str, Any]:
    plain = {"path": str(image), "type": type, "mode": "r", "device": "xvda", "devtype": "disk"}
    return {"0": {**plain, **more}}


async def measured(it: Desk, image: Path, **more: Any) -> str:
    """Path of a new measured VM with that disk."""
    path = await it.create(disk=disk(image, **more))
    await it.db("write", f"/vm/{it.uuid(path)}/measured", "true")
    return path


async def stored(it: Desk, path: str, kind: str = "sha256sum") -> str:
    return str(await it.db("read", f"/vm/{it.uuid(path)}/config/disk/0/{kind}"))


async def run_once(it: Desk, path: str) -> None:
    await it.vm(path, "start")
    assert await it.state(path) == "running"
    await it.vm(path, "destroy")
    await it.until_state(path, "stopped")


async def fail_action(it: Desk, action: str) -> None:
    await it.set("/", "measure-fail-action", "s", action, XENMGR_CONFIG.name)


def ran(it: Desk) -> list[str]:
    log = it.places.at("/ran")
    return log.read_text().split() if log.exists() else []


async def tampered_start(it: Desk, path: str) -> str:
    text = await it.fails(it.vm(path, "start"))
    assert text.startswith(refused(217))
    assert (await it.state(path), it.domids(path)) == ("stopped", [])
    return text


async def test_the_first_start_stores_the_sum_and_the_next_ones_check_it(it: Desk, image: Path) -> None:
    path = await measured(it, image)
    await run_once(it, path)
    sum = await stored(it, path)
    assert len(bytes.fromhex(sum)) == 32
    assert await it.call(path, XENMGR_VM_WHY.name, "changed_since_start") == []
    await run_once(it, path)
    assert await stored(it, path) == sum
    tamper(image)
    await fail_action(it, "nothing")
    text = await tampered_start(it, path)
    assert (str(image) in text, sum in text) == (True, True)
    assert await stored(it, path) == sum
    assert ran(it) == []


@pytest.mark.parametrize("action", POWER_ACTIONS)
async def test_the_host_answers_tampering_with_the_chosen_action(it: Desk, image: Path, action: str) -> None:
    path, other = await measured(it, image), await it.create()
    await run_once(it, path)
    await it.vm(other, "start")
    await it.set(other, "s3-mode", "s", "restart")
    await it.set(other, "s4-mode", "s", "restart")
    if action != "forced-shutdown":  # what happens unless somebody chose something
        await fail_action(it, action)
    tamper(image)
    await tampered_start(it, path)
    program = PROGRAM_OF[action]
    if program:
        await it.until(lambda: ran(it) == [program])
        await it.until_state(other, "running" if action == "sleep" else "stopped")
    else:
        await it.until(lambda: "action: nothing" in it.house.log("xenmgr"))
        assert await it.state(other) == "running"
    log = it.house.log("xenmgr")
    assert f"measurement of VM {it.uuid(path)} failed: {image}" in log
    assert f"action: {action}" in log


async def test_the_console_is_told_and_one_that_nobody_reads_holds_up_nothing(it: Desk, image: Path) -> None:
    path = await measured(it, image)
    await run_once(it, path)
    tamper(image)
    await fail_action(it, "nothing")
    console = it.places.at("/dev/xvc0")
    console.parent.mkdir(exist_ok=True)
    os.mkfifo(console)
    await tampered_start(it, path)
    reader = os.open(console, os.O_RDONLY | os.O_NONBLOCK)
    try:
        await tampered_start(it, path)
        line = os.read(reader, 4096).decode()
    finally:
        os.close(reader)
    assert str(image) in line
    assert await stored(it, path) in line
    assert line.endswith("action: nothing\n")


async def test_a_reboot_of_the_guest_is_a_start_and_is_measured(it: Desk, image: Path) -> None:
    path = await measured(it, image)
    await it.vm(path, "start")
    await fail_action(it, "nothing")
    tamper(image)
    it.xen().reboot(await it.get(path, "domid"))
    await it.until(lambda: "measurement of VM" in it.house.log("xenmgr"))
    await it.until_state(path, "stopped")
    assert it.domids(path) == []


async def test_an_old_sum_is_checked_as_such_and_replaced(it: Desk, image: Path) -> None:
    path = await measured(it, image, sha1sum=hashlib.sha1(image.read_bytes()).hexdigest().upper())
    await run_once(it, path)
    assert await stored(it, path, "sha1sum") == ""
    assert len(await stored(it, path)) == 64
    await run_once(it, path)


async def test_an_old_sum_that_does_not_fit_is_tampering(it: Desk, image: Path) -> None:
    old = hashlib.sha1(image.read_bytes()).hexdigest()
    path = await measured(it, image, sha1sum=old)
    tamper(image)
    await fail_action(it, "nothing")
    assert old in await tampered_start(it, path)
    assert (await stored(it, path, "sha1sum"), await stored(it, path)) == (old, "")


async def test_an_old_sum_stays_where_no_file_system_can_be_measured(it: Desk, image: Path) -> None:
    image.write_bytes(os.urandom(1 << 20))
    old = hashlib.sha1(image.read_bytes()).hexdigest()
    path = await measured(it, image, sha1sum=old)
    await run_once(it, path)
    assert await stored(it, path, "sha1sum") == old
    assert "keeps its SHA-1 sum" in it.house.log("xenmgr")


async def test_what_cannot_be_measured_does_not_start_and_is_said(it: Desk, image: Path) -> None:
    path = await measured(it, image)
    await run_once(it, path)
    image.write_bytes(bytes(1 << 20))
    assert "holds no file system that is known" in await it.fails(it.vm(path, "start"))
    image.unlink()
    absent = await it.fails(it.vm(path, "start"))
    assert f"{image}: there is no such disk image" in absent
    assert await it.call(path, XENMGR_VM_WHY.name, "why_not_start") == [absent]
    await it.db("write", f"/vm/{it.uuid(path)}/config/disk/0/sha256sum", "xyz")
    assert "is no sum of 64 hex digits" in await it.fails(it.vm(path, "start"))
    await it.db("rm", f"/vm/{it.uuid(path)}/config/disk/0")
    assert "has no disk 0 to measure" in await it.fails(it.vm(path, "start"))
    assert (await it.state(path), ran(it)) == ("stopped", [])


async def test_with_the_checks_bypassed_a_changed_disk_starts_and_keeps_its_sum(
    it: Desk, image: Path
) -> None:
    path = await measured(it, image)
    await run_once(it, path)
    sum = await stored(it, path)
    tamper(image)
    await it.db("write", "/xenmgr/bypass-sha1sum-checks", "true")
    await run_once(it, path)
    assert (await stored(it, path), ran(it)) == (sum, [])


async def test_every_disk_with_a_sum_is_checked(it: Desk, image: Path) -> None:
    path = await measured(it, image)
    second = it.places.storage / "second.img"
    second.write_bytes(image.read_bytes())
    entry = {**disk(second)["0"], "device": "xvdb"}
    for key, value in entry.items():
        await it.db("write", f"/vm/{it.uuid(path)}/config/disk/1/{key}", value)
    await run_once(it, path)
    await it.db("write", f"/vm/{it.uuid(path)}/config/disk/1/sha256sum", await stored(it, path))
    await run_once(it, path)
    tamper(second)
    await fail_action(it, "nothing")
    assert str(second) in await tampered_start(it, path)


async def test_a_vhd_is_measured_by_what_is_in_it(it: Desk, image: Path) -> None:
    vhd = converted(image, "vpc", it.places.storage / "disk.vhd")
    path, raw = await measured(it, vhd, type="vhd"), await measured(it, image)
    for vm in (path, raw):
        await run_once(it, vm)
    assert await stored(it, path) == await stored(it, raw)


# Kernel and initrd


async def test_kernel_and_initrd_come_out_of_the_disk_before_each_start(it: Desk, image: Path) -> None:
    initrd = it.places.at("/tmp/initrd")
    extracts = {"kernel": "", "kernel-extract": "0:/boot/vmlinuz", "initrd": str(initrd)}
    path = await it.create(disk=disk(image), **extracts, **{"initrd-extract": "boot/initrd"})
    kernel = it.places.at(f"/tmp/kernel-{it.uuid(path)}")
    await it.vm(path, "start")
    assert (kernel.read_bytes(), initrd.read_bytes()) == (KERNEL, b"initrd")
    await it.vm(path, "destroy")
    kernel.write_bytes(b"an old one")
    await run_once(it, path)
    assert kernel.read_bytes() == KERNEL
    await it.vm(path, "delete")
    assert not kernel.exists()


async def test_a_kernel_goes_where_the_configuration_has_it(it: Desk, image: Path) -> None:
    named = it.places.at("/boot/guest")
    named.parent.mkdir()
    path = await it.create(disk=disk(image), kernel=str(named), **{"kernel-extract": "/boot/vmlinuz-6.1"})
    await run_once(it, path)
    assert named.read_bytes() == KERNEL
    assert not it.places.at(f"/tmp/kernel-{it.uuid(path)}").exists()


SOURCES = {
    "0:1:/boot/vmlinuz": "config/kernel-extract cannot be",
    "x:/boot/vmlinuz": "config/kernel-extract cannot be",
    "7:/boot/vmlinuz": "names disk 7",
    "0,3:/boot/vmlinuz": "there is no partition 3",
    "/boot/nonesuch": "/boot/nonesuch",
    "/etc": "is no file",
}


async def test_a_kernel_that_cannot_be_had_is_said_and_nothing_is_left(it: Desk, image: Path) -> None:
    path = await it.create(disk=disk(image), kernel="")
    for source, words in SOURCES.items():
        await it.set(path, "kernel-extract", "s", source)
        assert words in await it.fails(it.vm(path, "start"))
        assert (await it.state(path), await it.has_monitor(path)) == ("stopped", False)
        assert [file for file in it.files() if it.uuid(path) in file.name] == []


async def test_a_start_that_fails_later_leaves_no_kernel(it: Desk, image: Path) -> None:
    path = await it.create(disk=disk(image), kernel="", **{"kernel-extract": "/boot/vmlinuz"})
    await it.set(path, "run-pre-boot", "s", "/bin/false")
    await it.fails(it.vm(path, "start"))
    assert [file for file in it.files() if it.uuid(path) in file.name] == []


async def test_without_a_path_nothing_is_taken_out(it: Desk, image: Path) -> None:
    path = await it.create(disk=disk(image), **{"kernel-extract": "9:"})
    await run_once(it, path)


async def test_no_kernel_comes_out_of_a_disk_that_was_tampered_with(it: Desk, image: Path) -> None:
    path = await it.create(disk=disk(image), kernel="", **{"kernel-extract": "/boot/vmlinuz"})
    await it.db("write", f"/vm/{it.uuid(path)}/measured", "true")
    await run_once(it, path)
    kernel = it.places.at(f"/tmp/kernel-{it.uuid(path)}")
    kernel.unlink()
    tamper(image)
    await fail_action(it, "nothing")
    await tampered_start(it, path)
    assert not kernel.exists()
