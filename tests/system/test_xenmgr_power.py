# SPDX-License-Identifier: GPL-2.0-or-later
"""Sleep, hibernation and the end of VMs and of the whole host, whose programs are the test's own."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from xenmgr_house import VM, Desk, desk

from openxt_api.xenmgr_host import XENMGR_HOST, XENMGR_POWERSETTINGS

XCPMD = "com.citrix.xenclient.xcpmd"
ENTER_S3 = "/usr/share/xenclient/enter-s3.sh"


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


def program(it: Desk, path: str, *lines: str) -> Path:
    """A power program of the host; what it writes about itself."""
    file = it.places.at(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    told = it.places.storage / f"{file.name}.told"
    file.write_text("\n".join(["#!/bin/sh", f"echo ran >> {told}", *lines]) + "\n")
    file.chmod(0o755)
    return told


async def running(it: Desk, **properties: object) -> str:
    """Path of a running user VM with guest drivers, that listens."""
    path = await it.create(**{"cmdline": properties.pop("cmdline", "quiet")})
    for name, value in {"pv-addons": True, **properties}.items():
        kind = {bool: "b", int: "i", str: "s"}[type(value)]
        await it.set(path, name.replace("_", "-"), kind, value)
    await it.vm(path, "start")
    domid = await it.get(path, "domid")
    feature = f"/local/domain/{domid}/control/feature-poweroff"
    await it.house.xenstore.wait_until(feature, lambda value: value == "1", 20)
    return path


async def host(it: Desk, member: str) -> None:
    await it.call("/host", XENMGR_HOST.name, member)


def ended(it: Desk) -> list[str]:
    """The VMs that were told as stopped, in that order."""
    return [body[1] for name, body in it.signals if name == "vm_state_changed" and body[2] == "stopped"]


# One VM


async def test_a_saved_vm_goes_on_from_its_file(it: Desk) -> None:
    path = await running(it)
    file = it.places.storage / "saved"
    await it.vm(path, "suspend_to_file", str(file))
    assert (it.domids(path), file.exists()) == ([], True)
    await it.vm(path, "resume_from_file", str(file))
    assert await it.state(path) == "running"
    assert it.domids(path) == [await it.get(path, "domid")]
    assert file.exists()
    assert (await it.fails(it.vm(path, "resume_from_file", str(file)))).startswith("102:")


async def test_a_file_that_is_none_leaves_the_vm_stopped(it: Desk) -> None:
    path = await it.create()
    assert "nonesuch" in await it.fails(it.vm(path, "resume_from_file", "/nonesuch"))
    assert (await it.state(path), it.domids(path), await it.has_monitor(path)) == ("stopped", [], False)
    assert "not the path" in await it.fails(it.vm(path, "resume_from_file", "saved"))


async def test_a_guest_sleeps_and_wakes(it: Desk) -> None:
    path = await running(it)
    await it.vm(path, "sleep")
    await it.vm(path, "sleep")
    await it.vm(path, "resume")
    assert await it.state(path) == "running"
    await it.vm(path, "shutdown")
    assert (await it.fails(it.vm(path, "sleep"))).startswith("102:")


async def test_without_guest_drivers_it_neither_sleeps_nor_hibernates(it: Desk) -> None:
    path = await running(it, pv_addons=False)
    for member in ("sleep", "hibernate"):
        assert (await it.fails(it.vm(path, member))).startswith("213:")
    assert await it.state(path) == "running"


async def test_a_hibernated_guest_is_told_as_such_until_it_starts(it: Desk) -> None:
    path = await running(it)
    await it.vm(path, "hibernate")
    assert (await it.state(path), await it.get(path, "acpi-state")) == ("stopped", 4)
    await it.vm(path, "start")
    assert not await it.get(path, "hibernated")


# The host


async def test_without_its_program_nothing_is_touched(it: Desk) -> None:
    path = await running(it)
    for member in ("shutdown", "reboot", "sleep", "hibernate"):
        assert "there is no program" in await it.fails(host(it, member))
    assert (await it.state(path), await it.get("/host", "state", XENMGR_HOST.name)) == ("running", "idle")


async def test_a_shutdown_ends_vms_by_priority_and_those_that_block_by_force(it: Desk) -> None:
    told = program(it, "/sbin/poweroff")
    await it.db("write", "/xenmgr/vm-stop-deadline", "5")
    last = await running(it, shutdown_priority=-5)
    first = await running(it, shutdown_priority=5)
    stubborn = await running(it, cmdline="sim.shutdown=hang", shutdown_priority=0)
    await host(it, "shutdown")
    assert ended(it) == [first, stubborn, last]
    assert told.read_text() == "ran\n"
    assert f"229:VM {it.uuid(stubborn)} held up the host" in it.house.log("xenmgr")
    assert await it.get("/host", "state", XENMGR_HOST.name) == "shutdowning"
    assert "shutting-down" in await it.fails(it.vm(first, "start"))


async def test_a_sleep_puts_down_by_mode_and_brings_back(it: Desk) -> None:
    sleeper, restarted, ignored = (
        await running(it),
        await running(it, s3_mode="restart"),
        await running(it, s3_mode="ignore"),
    )
    before = [await it.get(path, "domid") for path in (sleeper, restarted, ignored)]
    told = program(it, ENTER_S3)
    await host(it, "sleep")
    after = [await it.get(path, "domid") for path in (sleeper, restarted, ignored)]
    assert told.read_text() == "ran\n"
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] > before[1]
    states = [body[0] for name, body in it.signals if name == "state_changed"]
    assert states == ["sleeping", "idle"]


async def test_a_running_vm_that_left_the_database_does_not_hold_up_the_host(it: Desk) -> None:
    told, path = program(it, "/sbin/poweroff"), await running(it)
    await it.db("rm", f"/vm/{it.uuid(path)}")
    assert await it.get("/host", "avail-mem", XENMGR_HOST.name) > 0
    await host(it, "shutdown")
    assert told.read_text() == "ran\n"
    assert it.domids(path) == []


async def test_a_vm_that_cannot_sleep_calls_the_sleep_off_and_is_named(it: Desk) -> None:
    told = program(it, ENTER_S3)
    sleeper, restarted = await running(it, pv_addons=False), await running(it, s3_mode="restart")
    domid = await it.get(restarted, "domid")
    text = await it.fails(host(it, "sleep"))
    assert text.startswith("227:")
    assert it.uuid(sleeper) in text
    assert not told.exists()
    assert [await it.state(path) for path in (sleeper, restarted)] == ["running", "running"]
    assert await it.get(restarted, "domid") == domid
    assert await it.get("/host", "state", XENMGR_HOST.name) == "idle"


async def test_after_a_hibernation_of_the_host_its_vms_start_at_boot(it: Desk) -> None:
    told = program(it, "/sbin/poweroff")
    path, stopped = await running(it), await running(it, s4_mode="ignore")
    await host(it, "hibernate")
    assert told.read_text() == "ran\n"
    assert [await it.get(vm, "hibernated") for vm in (path, stopped)] == [True, False]
    for service in [vm for vm in await it.root("list_vms") if vm not in (path, stopped)]:
        await it.set(service, "start-on-boot", "b", False, f"{VM}.unrestricted")
    for tag in ("uivm", "ndvm"):
        await it.db("write", f"/xenmgr/overwrite-{tag}-settings", "false")
    await it.boot()
    await it.until_state(path, "running")
    assert await it.state(stopped) == "stopped"
    assert not await it.db("exists", "/platform/hibernated")


# What sets it off


async def test_buttons_and_the_lid_set_off_what_is_configured(it: Desk) -> None:
    slept, off = program(it, ENTER_S3), program(it, "/sbin/poweroff")
    assert await it.house.bus.request_name(XCPMD)
    assert await it.house.bus.request_name("com.citrix.xenclient.input")
    await it.call("/host", XENMGR_POWERSETTINGS.name, "set_battery_lid_close_action", "s", "sleep")
    await it.house.xenstore.write("/pm/lid_state", "0")
    it.house.bus.emit("/", "com.citrix.xenclient.input", "lid_state_changed")
    await it.until(slept.exists)
    await it.until(lambda: [body[0] for name, body in it.signals if name == "state_changed"][-1:] == ["idle"])
    it.house.bus.emit("/", XCPMD, "power_button_pressed")
    await it.until(off.exists)
    assert slept.read_text() == "ran\n"


async def test_a_signal_of_somebody_else_sets_off_nothing(it: Desk) -> None:
    off = program(it, "/sbin/poweroff")
    it.house.bus.emit("/", XCPMD, "power_button_pressed")
    assert await it.root("list_vms")
    assert await it.get("/host", "state", XENMGR_HOST.name) == "idle"
    assert not off.exists()


async def test_sigusr2_ends_all_vms_by_priority_and_then_xenmgr(it: Desk) -> None:
    last, first = await running(it, shutdown_priority=-5), await running(it, shutdown_priority=5)
    pid = it.house.supervisor.supervised["xenmgr"].pid
    assert pid is not None
    os.kill(pid, signal.SIGUSR2)
    await it.until(lambda: it.house.log("xenmgr").count("serving") == 2)
    assert ended(it)[:2] == [first, last]
    assert [it.domids(path) for path in (first, last)] == [[], []]
