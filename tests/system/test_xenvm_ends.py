# SPDX-License-Identifier: GPL-2.0-or-later
"""How a monitor ends, and how its operations do when something is in their way."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from xenvm_house import START, UUID, House, builds_held

from openxt_api.xenvm_task_list import XenvmTasksClient
from openxt_core.errors import RemoteError
from openxt_core.ids import xenvm_name, xenvm_path

STARTS_UP = "startup = start"


# The process


async def building(house: House) -> subprocess.Popen[bytes]:
    """A monitor whose startup mode is under way, and cannot go on: see `builds_held`."""
    monitor = house.launch("--config", str(house.config(STARTS_UP)))
    await house.hear("ping", "dbus-rpc-up", "creating-domain")
    await house.until(house.domids)
    return monitor


@pytest.mark.parametrize("how", ["quit", signal.SIGTERM, signal.SIGINT])
async def test_told_to_end_while_it_starts_up_it_undoes_that(house: House, how: str | signal.Signals) -> None:
    before = await house.nodes()
    with builds_held(house):
        monitor = await building(house)
        if isinstance(how, signal.Signals):
            monitor.send_signal(how)
        else:
            await house.call("quit")
        await house.call("get_status")  # it has heard what came before
    assert await house.gone(monitor) == 0
    await house.hear("shutdown", "hup")
    assert house.domids() == []
    assert await house.nodes() == before


async def test_a_destroy_while_it_starts_up_is_no_failure(house: House) -> None:
    with builds_held(house):
        await building(house)
        destroying = asyncio.create_task(house.call("destroy"))
        await house.until(lambda: _is_known(house, "destroy"))
    await destroying
    await house.hear_states("shutdown")
    assert await house.call("get_status") == "shutdown"
    await house.call("start")


async def _is_known(house: House, name: str) -> bool:
    return name in [str(job["name"].value) for job in await tasks_of(house).list_tasks()]


def tasks_of(house: House) -> XenvmTasksClient:
    return XenvmTasksClient(house.bus, xenvm_name(UUID), xenvm_path(UUID))


async def test_told_to_end_before_it_serves_it_says_so(house: House) -> None:
    """XenStore does not answer it."""
    house.sim.send_signal(signal.SIGSTOP)
    words = [sys.executable, "-m", "openxt_xenvm", "--no-daemonize", "--config", str(house.config())]
    with subprocess.Popen(words, env=house.environ, stderr=subprocess.PIPE, text=True) as monitor:
        handled = Path(f"/proc/{monitor.pid}/status")
        await house.until(lambda: _catches(handled, signal.SIGTERM))
        monitor.terminate()
        _, errors = await asyncio.to_thread(monitor.communicate)
    house.sim.send_signal(signal.SIGCONT)
    assert (monitor.returncode, "Traceback" in errors) == (0, False)


def _catches(status: Path, number: signal.Signals) -> bool:
    (caught,) = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt")]
    return bool(int(caught, 16) & 1 << number - 1)


async def test_without_the_bus_there_is_one_monitor_a_vm_as_well(house: House) -> None:
    with builds_held(house):
        await building(house)
        second = house.launch("--config", str(house.config()), "--monitor-dbus", "false")
        assert await house.gone(second) == 1
        assert len(house.domids()) == 1
    await house.hear(*START[1:])


async def test_what_adoption_starts_is_not_started_twice(house: House) -> None:
    await house.monitor(house.config(STARTS_UP))
    await house.hear(*START)
    await house.guest_is_up(house.domids()[0])
    with builds_held(house):
        rebooting = asyncio.create_task(house.call("reboot", auto_start="true"))
        await house.hear_states("shutdowning", "rebooting", "creating-domain")
        await house.kill(house.monitors[-1])
        await asyncio.gather(rebooting, return_exceptions=True)
    house.silence()
    await house.monitor(house.config(STARTS_UP))
    await house.hear_states("shutdown", *START)
    assert await house.call("get_status") == "running"
    assert len(house.domids()) == 1


# Operations


async def test_a_forced_halt_after_one_that_was_called_off(house: House) -> None:
    await house.running(cmdline="sim.shutdown=hang")
    halting = asyncio.create_task(house.call("halt"))
    await house.hear("shutdowning")
    jobs = await tasks_of(house).list_tasks()
    await tasks_of(house).cancel_task(int(jobs[-1]["id"].value))
    with pytest.raises(RemoteError, match="Task_cancelled"):
        await halting
    await house.call("halt", forced="true")
    await house.hear("shutdown")
    assert house.domids() == []


@pytest.mark.parametrize("task", ["halt", "destroy"])
async def test_a_disk_that_cannot_be_detached_is_tried_again_with_the_next_start(
    house: House, task: str
) -> None:
    disk = f"disk = {house.file('disk')}:file:xvda:w:disk:"
    await house.running(disk)
    busy = house.keeper.folder / "busy"
    busy.touch()
    with pytest.raises(RemoteError, match="is busy"):
        await house.call(task)
    busy.unlink()
    await house.hear_states(*(["shutdowning"] if task == "halt" else []), "shutdown")
    assert house.domids() == []
    await house.call("start")
    await house.hear_states(*START)
    assert len(house.loops()) == 1


async def test_a_vm_that_cannot_be_noted_is_not_started_but_ended(house: House) -> None:
    await house.running()
    draft = house.record().with_suffix(".new")
    draft.mkdir()
    await house.call("destroy")
    await house.hear("shutdown")
    with pytest.raises(RemoteError, match="start cannot be noted"):
        await house.call("start")
    assert house.domids() == []
    draft.rmdir()
    await house.call("start")
