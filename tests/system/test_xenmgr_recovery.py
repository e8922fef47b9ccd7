# SPDX-License-Identifier: GPL-2.0-or-later
"""Any one daemon killed at any moment: xenmgr finds back to the truth, and no VM is lost or left over."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator

import pytest
from xenmgr_house import Desk, desk

from openxt_core.errors import OpenxtError, RemoteError


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


async def restarted(it: Desk, times: int = 1) -> None:
    """xenmgr serves again after so many deaths."""
    await it.until(lambda: it.house.log("xenmgr").count("serving") == times + 1)


async def ends_cleanly(it: Desk, path: str) -> None:
    await it.vm(path, "destroy")
    await it.until_state(path, "stopped")
    assert it.domids(path) == []
    await it.vm(path, "delete")
    assert not await it.has_monitor(path)
    uuid = it.uuid(path)
    assert [node for node in await it.nodes() if uuid in node] == []
    assert [file for file in it.files() if uuid in file.name] == []


# xenmgr


async def test_a_restarted_xenmgr_knows_its_running_vms(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    domid = await it.get(path, "domid")
    it.house.supervisor.kill("xenmgr")
    await restarted(it)
    assert (await it.state(path), await it.get(path, "domid")) == ("running", domid)
    it.xen().crash(domid)
    await it.until_state(path, "stopped")
    await ends_cleanly(it, path)


async def test_what_happened_while_xenmgr_was_away_is_made_up_for(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    domid = await it.get(path, "domid")
    it.house.supervisor.kill("xenmgr")
    it.xen().crash(domid)
    await restarted(it)
    await it.until_state(path, "stopped")
    assert await it.house.xenstore.read(f"/vm/{it.uuid(path)}/state") == "shutdown"
    assert await it.house.xenstore.list("/xenmgr/vms") == []
    await ends_cleanly(it, path)


async def test_a_start_that_lost_its_xenmgr_is_finished(it: Desk) -> None:
    path = await it.create(**{"vcpus": "2"})
    start = asyncio.create_task(it.vm(path, "start"))
    await it.until(lambda: it.domids(path))
    it.house.supervisor.kill("xenmgr")
    await asyncio.gather(start, return_exceptions=True)
    await restarted(it)
    await it.until_state(path, "running", "stopped")
    await it.vm(path, "start")
    assert await it.state(path) == "running"
    assert len(it.domids(path)) == 1
    await ends_cleanly(it, path)


async def test_a_built_domain_that_nobody_unpaused_is_let_run(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    await it.vm(path, "pause")
    await it.house.xenstore.write(f"/vm/{it.uuid(path)}/state", "created")
    it.house.supervisor.kill("xenmgr")
    await restarted(it)
    assert await it.state(path) == "paused"  # the monitor knows best
    await it.vm(path, "unpause")
    await ends_cleanly(it, path)


async def test_a_state_without_monitor_and_domain_is_forgotten(it: Desk) -> None:
    path = await it.create()
    await it.house.xenstore.write(f"/vm/{it.uuid(path)}/state", "running")
    it.house.supervisor.kill("xenmgr")
    await restarted(it)
    assert await it.state(path) == "stopped"
    assert not await it.has_monitor(path)


async def test_a_reboot_that_lost_its_xenmgr_is_finished(it: Desk) -> None:
    path = await it.create()
    await it.set(path, "preserve-on-reboot", "b", True)
    await it.vm(path, "start")
    it.xen().reboot(await it.get(path, "domid"))
    await it.until_state(path, "rebooted")
    it.house.supervisor.kill("xenmgr")
    await restarted(it)
    assert await it.state(path) == "rebooted"
    await it.set(path, "preserve-on-reboot", "b", False)
    it.house.supervisor.kill("xenmgr")
    await restarted(it, 2)
    await it.until_state(path, "running")
    await ends_cleanly(it, path)


# xenvm


async def test_a_dead_monitor_is_replaced_and_finds_its_domain(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    domid, old = await it.get(path, "domid"), await it.monitor_pid(path)
    os.kill(old, signal.SIGKILL)
    await it.until(lambda: is_replaced(it, path, old))
    await it.vm(path, "pause")
    assert (await it.state(path), await it.get(path, "domid")) == ("paused", domid)
    await it.vm(path, "unpause")
    await it.until(lambda: it.states_told(path)[-1] == "running")
    await ends_cleanly(it, path)


@pytest.mark.parametrize("member", ["shutdown", "destroy", "pause", "start", "delete"])
async def test_what_is_asked_right_after_a_monitor_died_waits_for_the_new_one(it: Desk, member: str) -> None:
    path = await it.create()
    await it.vm(path, "start")
    domid = await it.get(path, "domid")
    os.kill(await it.monitor_pid(path), signal.SIGKILL)
    if member == "delete":
        assert (await it.fails(it.vm(path, member))).startswith("204:")
    else:
        await it.vm(path, member)
    expected = {"pause": "paused", "start": "running", "delete": "running"}.get(member, "stopped")
    assert await it.state(path) == expected
    assert it.domids(path) == ([] if expected == "stopped" else [domid])


async def is_replaced(it: Desk, path: str, old: int) -> bool:
    try:
        return await it.monitor_pid(path) != old
    except RemoteError:  # nobody has the name
        return False


async def test_a_domain_that_died_together_with_its_monitor_is_noticed(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    domid = await it.get(path, "domid")
    os.kill(await it.monitor_pid(path), signal.SIGKILL)
    it.xen().crash(domid)
    await it.until_state(path, "stopped")
    assert it.domids(path) == []
    await ends_cleanly(it, path)


async def test_a_monitor_that_dies_in_a_start_fails_it_and_nothing_is_left(it: Desk) -> None:
    path = await it.create()
    before = await it.nodes()
    start = asyncio.create_task(it.vm(path, "start"))
    await it.until(lambda: it.domids(path))
    os.kill(await it.monitor_pid(path), signal.SIGKILL)
    (outcome,) = await asyncio.gather(start, return_exceptions=True)
    if isinstance(outcome, OpenxtError):
        assert "monitor" in str(outcome)
        await it.until_state(path, "stopped")
        assert it.domids(path) == []
        assert await it.nodes() == before
    else:  # it came too late
        await it.until_state(path, "running")
    await ends_cleanly(it, path)


async def test_a_stopped_vms_monitor_may_die_unnoticed(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    await it.vm(path, "destroy")
    os.kill(await it.monitor_pid(path), signal.SIGKILL)
    assert await it.state(path) == "stopped"
    await it.vm(path, "start")
    assert await it.state(path) == "running"


# Both, and the others


async def test_xenmgr_and_monitor_dead_at_once_still_lose_no_domain(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    domid = await it.get(path, "domid")
    monitor = await it.monitor_pid(path)
    it.house.supervisor.kill("xenmgr")
    os.kill(monitor, signal.SIGKILL)
    await restarted(it)
    assert (await it.state(path), await it.get(path, "domid")) == ("running", domid)
    assert await it.has_monitor(path)
    await ends_cleanly(it, path)


async def test_without_a_zygote_monitors_are_run_directly(it: Desk) -> None:
    it.house.supervisor.kill("xenvm-zygote")
    path = await it.create()
    await it.vm(path, "start")
    assert await it.state(path) == "running"
    await ends_cleanly(it, path)


@pytest.mark.parametrize("seed", range(8))
async def test_one_daemon_killed_at_a_random_moment_of_a_life(it: Desk, seed: int) -> None:
    choice = random.Random(seed)
    path = await it.create()
    victim = choice.choice(["xenmgr", "xenvm", "dbd", "xenvm-zygote"])
    life = asyncio.create_task(live(it, path))
    await asyncio.sleep(choice.uniform(0, 0.4))  # the moment is the point
    await kill(it, victim, path)
    await asyncio.gather(life, return_exceptions=True)
    await it.until_state(path, "running", "stopped", "paused")
    await settle(it, path)
    await it.vm(path, "start")
    await it.until_state(path, "running", "paused")
    assert len(it.domids(path)) == 1
    await ends_cleanly(it, path)


async def live(it: Desk, path: str) -> None:
    for member in ("start", "pause", "unpause", "shutdown", "start", "destroy"):
        await it.vm(path, member)


async def kill(it: Desk, victim: str, path: str) -> None:
    if victim != "xenvm":
        it.house.supervisor.kill(victim)
    else:
        with contextlib.suppress(RemoteError):  # nobody to kill
            os.kill(await it.monitor_pid(path), signal.SIGKILL)


async def settle(it: Desk, path: str) -> None:
    """Wait until the state has been the same for a while: recovery goes on in the background."""
    same, last = 0, ""
    while same < 10:
        await asyncio.sleep(0.05)
        state = await it.until_state(path, "running", "stopped", "paused")
        same, last = (same + 1 if state == last else 0), state


async def test_a_deletion_that_lost_its_xenmgr_is_finished(it: Desk) -> None:
    path, other = await it.create(), await it.create()
    uuid = it.uuid(path)
    await it.vm(path, "start")
    await it.vm(path, "destroy")
    image = it.places.storage / "disks/it.vhd"
    image.write_text("")
    await it.db("write", f"/xenmgr/leaving-{uuid}", f'["{image}"]')  # and then xenmgr died
    await it.db("rm", f"/vm/{uuid}")
    await it.db("write", "/xenmgr/leaving-no-uuid", "{")
    await it.restart()
    assert await it.root("list_vms") == [vm for vm in await it.root("list_vms") if vm != path]
    assert other in await it.root("list_vms")
    assert not image.exists()
    assert not await it.has_monitor(path)
    assert [node for node in await it.nodes() if uuid in node] == []
    assert [file for file in it.files() if uuid in file.name] == []
    assert not await it.db("exists", f"/xenmgr/leaving-{uuid}")
