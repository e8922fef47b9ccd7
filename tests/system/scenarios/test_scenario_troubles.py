# SPDX-License-Identifier: GPL-2.0-or-later
"""Troubles of single VMs, by xec and xec-vm alone: circles, hooks that hang, damage, drift, deletion.

What does not ask for a simulated host runs on real Xen too: test_scenario_xen.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from days import CARD, plug
from machine import Machine, machine

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def it() -> AsyncIterator[Machine]:
    async with machine() as opened:
        yield opened


async def path_of(it: Machine, name: str) -> str:
    return f"/vm/{(await it.uuid(name)).replace('-', '_')}"


async def test_vms_start_by_themselves_by_priority_with_what_they_need_first(it: Machine) -> None:
    for name, priority in (("late", "1"), ("first", "9")):
        await it.create(name)
        await it.vm(name, "set", "start-on-boot", "true")
        await it.vm(name, "set", "start-on-boot-priority", priority)
    await it.create("base")
    await it.create("other")
    await it.vm("first", "add-needed", await it.uuid("base"))
    await it.boot()
    for name in ("first", "late"):
        await it.until_state(name, "running")
    await it.until_came_to("running", ("base", "first", "late"))
    assert await it.state("other") == "stopped"
    for name in ("late", "first", "base"):
        await it.vm(name, "shutdown")
    assert it.domains() == {}


async def test_a_sleep_of_the_host_that_lost_its_xenmgr_leaves_no_vm_asleep(it: Machine) -> None:
    modes = {"anew": "restart", "stays": "ignore"} | ({} if it.is_real else {"asleep": "pv"})
    for name, mode in modes.items():
        await it.create(name)
        await it.vm(name, "set", "s3-mode", mode)
        await it.vm(name, "set", "pv-addons", "true")
        await it.vm(name, "start")
        await it.until_says(name, "GUEST READY")  # one that still boots cannot be asked to sleep
    before = {name: await it.vm(name, "get", "domid") for name in modes}
    night = it.program("/usr/share/xenclient/enter-s3.sh", "sleep 1000")
    sleeping = asyncio.ensure_future(it.command("xec", "-o", "/host", "sleep"))
    await it.until_there(night)
    assert await it.state("anew") == "stopped"
    await it.restart("xenmgr")
    assert (await sleeping).is_lost
    for name in modes:
        await it.until_state(name, "running")
    assert [name for name in modes if await it.vm(name, "get", "domid") != before[name]] == ["anew"]

    async def is_over() -> bool:
        return await it.house.xenstore.read("/xenmgr/pm-current-action") is None

    await it.until(is_over, "all VMs are back")
    if not it.is_real:
        assert it.acpi(int(before["asleep"])) == 0
    assert await it.xec("-o", "/host", "get", "state") == "idle"
    for name in modes:
        await it.vm(name, "destroy")


async def test_a_circle_of_dependencies_is_told_by_name_and_starts_nothing(it: Machine) -> None:
    for name in ("router", "filter", "desk"):
        await it.create(name)
    for name, needed in (("desk", "router"), ("router", "filter")):
        await it.vm(name, "add-needed", await it.uuid(needed))
    assert "desk" in await it.refused("filter", "add-needed", await it.uuid("desk"))
    await it.db("write", f"/vm/{await it.uuid('filter')}/dependencies/0", await it.uuid("desk"))
    for name in ("router", "filter", "desk"):
        text = await it.refused(name, "start")
        assert all(other in text for other in ("router", "filter", "desk"))
        assert text.endswith(await it.vm(name, "why-not-start"))
    assert it.domains() == {}
    assert it.told == []
    await it.vm("filter", "remove-needed", await it.uuid("desk"))
    await it.vm("desk", "start")
    await it.until_came_to("running", ("filter", "router", "desk"))
    for name in ("desk", "router", "filter"):
        await it.vm(name, "destroy")


async def test_a_hook_that_hangs_is_ended_and_holds_up_nobody_else(it: Machine) -> None:
    hook, hang = it.program("/hang", "sleep 1000 &", "sleep 1000"), it.places.at("/hang")
    for name in ("slow", "quick"):
        await it.create(name)
    await it.vm("slow", "set", "run-pre-boot", str(hang))
    starting = asyncio.ensure_future(it.refused("slow", "start"))
    await it.until_there(hook)
    await it.vm("quick", "start")
    assert not starting.done()
    (process,) = processes_of(hang)
    os.killpg(process, signal.SIGKILL)  # its time is far from over
    assert "failed with exit status -9" in await starting
    await it.db("write", "/xenmgr/hook-deadline", "3")
    assert "did not end within 3 s" in await it.refused("slow", "start")
    assert processes_of(hang) == []
    assert list(it.domains().values()) == [await it.uuid("quick")]
    assert await it.state("slow") == "stopped"
    await it.vm("slow", "set", "run-pre-boot", "")
    await it.vm("slow", "set", "run-on-state-change", str(hang))
    await it.vm("slow", "start")
    await it.vm("slow", "shutdown")
    assert await it.state("slow") == "stopped"
    await it.vm("quick", "shutdown")

    async def told() -> bool:
        return it.log().count("hook run-on-state-change") == 4

    await it.until(told, "the log tells of the state hook, for creating, running, stopping, stopped")
    assert processes_of(hang) == []


def processes_of(program: Path) -> list[int]:
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(program).encode() in command.read_bytes():
                found.append(int(command.parent.name))
        except OSError:  # it ended
            continue
    return found


async def test_damage_to_one_vm_is_told_and_the_others_work(it: Machine) -> None:
    for name in ("sound", "odd", "lost"):
        await it.create(name)
    lost, odd = await it.uuid("lost"), await it.uuid("odd")
    for key, value in (("config/memory", "lots"), ("config/disk/0/type", "\U0001f4be"), ("slot", "-")):
        await it.db("write", f"/vm/{odd}/{key}", value)
    assert "config/memory" in await it.refused("odd", "start")
    await it.db("sync")
    file = it.places.at(f"/config/vms/{lost}.db")
    file.write_bytes(file.read_bytes()[:-40] + b"\xff{{{")
    for program in ("dbd", "xenmgr"):
        await it.restart(program)
    assert lost in await it.db("bad-files")
    assert set(await it.names()) >= {"sound", "odd"}
    await it.vm("sound", "start")
    assert "config/memory" in await it.refused("odd", "start")
    await it.vm("odd", "set", "memory", "8" if it.is_real else "64")
    await it.vm("odd", "start")
    for name in ("sound", "odd"):
        await it.vm(name, "shutdown")
    await it.xec("create-vm-with-template", "new-vm-linux")  # making VMs goes on, too


async def test_a_deleted_vm_takes_all_that_is_its_own_and_nothing_else(it: Machine) -> None:
    await it.create("stays")
    before = await it.db("dump", "/"), await nodes(it), files(it)
    pre_delete = it.program("/bye")
    await it.create("goes")
    path, uuid = await path_of(it, "goes"), await it.uuid("goes")
    images = [Path(await it.xec("create-vhd", "1")) for _ in range(2)]
    disks = [await it.vm("goes", "add-disk") for _ in images]
    for disk, image in zip(disks, images, strict=True):
        await it.xec("-o", disk, "attach-vhd", str(image))
        await it.xec("-o", disk, "set", "enabled", "false")
    Path(f"{images[0]}.snap").write_text("")
    await it.xec("-o", disks[1], "set", "shared", "true")
    nic = await it.vm("goes", "add-nic")
    await it.xec("-o", nic, "set", "backend-uuid", "00000000-0000-0000-0000-000000000000")
    await it.xec("-o", nic, "set", "enabled", "false")
    await it.vm("goes", "add-v4v-firewall-rule", "myself -> 0:5555")
    await it.vm("goes", "add-pt-rule", "0x280", "", "")
    await it.vm("goes", "add-needed", await it.uuid("stays"))
    await it.vm("goes", "set-domstore-key", "secret", "1")
    await it.vm("goes", "set", "run-pre-delete", str(it.places.at("/bye")))
    await it.vm("goes", "start")
    assert "204:" in await it.refused("goes", "delete")
    for name in ("goes", "stays"):
        await it.vm(name, "shutdown")
    await it.delete("goes")
    assert (it.places.at("/storage/bye.ran")).read_text() == "ran\n"
    assert pre_delete.exists()
    assert "not found" in await it.refused("goes", "get", "state")
    assert [image.exists() for image in images] == [False, True]
    assert not Path(f"{images[0]}.snap").exists()
    images[1].unlink()
    assert uuid not in await it.db("dump", "/")
    await it.db("sync")
    assert [node for node in await nodes(it) if uuid in node or path in node] == []
    assert [file for file in files(it) if uuid in file] == []
    assert [name for name in await it.names() if name in ("goes", "stays")] == ["stays"]
    assert before[2] <= files(it)


async def nodes(it: Machine, path: str = "/") -> list[str]:
    """All of XenStore."""
    found = [path]
    for name in await it.house.xenstore.list(path):
        found += await nodes(it, f"{path.rstrip('/')}/{name}")
    return found


def files(it: Machine) -> set[str]:
    folders = ("/tmp", "/var/run/xenvm", "/config/vms", "/config/dom-store", "/var/lib")
    return {str(file) for folder in folders for file in it.places.at(folder).rglob("*") if file.is_file()}


async def test_a_rule_that_means_another_device_hands_over_nothing_until_it_is_confirmed(
    it: Machine,
) -> None:
    plug(it, "0x8086")
    await it.create("air", **{"virt-type": "pv"})
    await it.vm("air", "add-pt-rule", "0x0c03", "", "")
    await it.vm("air", "start")
    await it.vm("air", "shutdown")
    plug(it, "0x14e4")
    assert "now means" in await it.refused("air", "start")
    assert CARD in await it.vm("air", "changed-devices")
    await it.restart("xenmgr")
    assert "now means" in await it.vm("air", "why-not-start")
    assert it.domains() == {}
    await it.vm("air", "confirm-devices", f'["{CARD}"]')
    await it.vm("air", "start")
    assert await it.state("air") == "running"
