# SPDX-License-Identifier: GPL-2.0-or-later
"""com.citrix.xenclient.xenvm.tasks: what a monitor does can be seen, called off and given a deadline."""

import asyncio

import pytest
from xenvm_house import START, UUID, House, builds_held

from openxt_api.xenvm_task_list import XENVM_TASKS, XenvmTasksClient
from openxt_bus.connection import Match, Signal
from openxt_core.errors import RemoteError
from openxt_core.ids import xenvm_name, xenvm_path


def client(house: House) -> XenvmTasksClient:
    return XenvmTasksClient(house.bus, xenvm_name(UUID), xenvm_path(UUID))


async def listed(house: House) -> dict[str, str]:
    """The latest of each name, and its state."""
    tasks = await client(house).list_tasks()
    return {task["name"].value: task["state"].value for task in tasks}


async def latest(house: House) -> int:
    tasks = await client(house).list_tasks()
    return int(tasks[-1]["id"].value)


async def test_a_task_is_told_from_its_beginning_to_its_end(house: House) -> None:
    told: list[tuple[str, str, int, str]] = []

    def hear(signal: Signal) -> None:
        told.append((signal.body[1], signal.body[2], signal.body[3], signal.body[4]))

    await house.bus.subscribe(Match(XENVM_TASKS.name, "task_changed"), hear)
    await house.monitor(house.config())
    await house.call("start")
    await house.until(lambda: ("start", "done", 100, "") in told)
    starts = [(state, progress) for name, state, progress, _ in told if name == "start"]
    assert starts[0] == ("waiting", 0)
    assert starts[1] == ("running", 0)
    assert starts[-1] == ("done", 100)


async def test_the_progress_of_a_long_task_is_told_now_and_then(house: House) -> None:
    progress: list[int] = []
    await house.bus.subscribe(
        Match(XENVM_TASKS.name, "task_changed"), lambda signal: progress.append(signal.body[3])
    )
    await house.monitor(house.config())
    with builds_held(house):
        starting = asyncio.create_task(house.call("start"))
        await house.until(house.domids)
        job = await latest(house)
        while not (await client(house).get_task(job))["progress"].value:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.6)  # long, for this test
    await starting
    await house.until(lambda: [value for value in progress if 0 < value < 100])


async def test_a_failed_task_keeps_its_reason(house: House) -> None:
    await house.monitor(house.config("kernel = /no/such"))
    with pytest.raises(RemoteError):
        await house.call("start")
    task = await client(house).get_task(await latest(house))
    assert (task["name"].value, task["state"].value) == ("start", "failed")
    assert "/no/such" in task["error"].value


async def test_a_task_that_is_called_off_is_undone_and_its_caller_told(house: House) -> None:
    before = await house.nodes()
    await house.monitor(house.config())
    with builds_held(house):
        starting = asyncio.create_task(house.call("start"))
        await house.until(house.domids)
        await client(house).cancel_task(await latest(house))
    with pytest.raises(RemoteError, match=r"Task_cancelled.*start: it was called off"):
        await starting
    await house.hear("creating-domain", "shutdown")
    assert house.domids() == []
    assert await house.nodes() == before
    assert (await listed(house))["start"] == "cancelled"
    await house.call("start")
    await house.hear(*START)


async def test_a_task_that_waits_for_another_can_be_called_off_too(house: House) -> None:
    await house.monitor(house.config())
    with builds_held(house):
        starting = asyncio.create_task(house.call("start"))
        await house.until(house.domids)
        halting = asyncio.create_task(house.call("halt"))
        while "halt" not in await listed(house):
            await asyncio.sleep(0.01)
        await client(house).cancel_task(await latest(house))
        with pytest.raises(RemoteError, match="called off"):
            await halting
    await starting
    assert await house.call("get_status") == "running"


async def test_a_task_beyond_its_deadline_is_undone(house: House) -> None:
    await house.monitor(house.config(cmdline="sim.shutdown=ignore"), XENVM_ACKNOWLEDGE_S="600")
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    halting = asyncio.create_task(house.call("halt"))
    request = f"/local/domain/{domid}/control/shutdown"
    await house.store.wait_until(request, lambda value: value == "poweroff", 10)
    job = await latest(house)
    assert (await client(house).get_task(job))["deadline"].value > 7000
    await client(house).set_deadline(job, 0)
    with pytest.raises(RemoteError, match="its deadline of 0 s has passed"):
        await halting
    assert await house.call("get_status") == "running"
    assert await house.store.read(request) == ""


async def test_what_is_over_or_unknown_is_refused(house: House) -> None:
    await house.monitor(house.config())
    await house.call("start")
    job = await latest(house)
    for call in (client(house).cancel_task(job), client(house).set_deadline(job, 5)):
        with pytest.raises(RemoteError, match=f"task {job} is over"):
            await call
    with pytest.raises(RemoteError, match="no task 999"):
        await client(house).get_task(999)


async def test_only_the_latest_that_are_over_are_kept(house: House) -> None:
    await house.monitor(house.config())
    for _ in range(20):
        await house.call("destroy")
    tasks = await client(house).list_tasks()
    assert len(tasks) == 16
    assert tasks[-1]["id"].value == 21  # the first one looked for what an earlier monitor left
