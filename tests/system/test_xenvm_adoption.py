# SPDX-License-Identifier: GPL-2.0-or-later
"""A monitor killed at any moment: its domain lives on, and the next monitor finishes or undoes the rest."""

import asyncio
import json
import random
from pathlib import Path

import pytest
from xenvm_house import OTHER, START, UUID, House, builds_held

from effort import effort
from openxt_core.errors import OpenxtError
from openxt_xen.hypervisor import DomainSpec, Kind

DYING = Path(__file__).parent / "dying_xenvm.py"
IGNORES = "sim.shutdown=ignore"


async def next_monitor(house: House, *lines: str) -> None:
    house.silence()
    await house.monitor(house.config(*lines))


async def test_a_running_domain_is_adopted_as_it_is(house: House) -> None:
    before = await house.nodes()
    first = await house.monitor(house.config())
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    await house.kill(first)
    await next_monitor(house)
    await house.hear("running")
    assert await house.call("get_domid") == str(domid)
    await house.call("halt")
    await house.hear("shutdowning", "shutdown")
    assert await house.nodes() == before


@pytest.mark.parametrize(
    ("tasks", "state"), [(("start",), "created"), (("start", "unpause", "pause"), "paused")]
)
async def test_a_paused_domain_is_adopted_paused(house: House, tasks: tuple[str, ...], state: str) -> None:
    first = await house.monitor(house.config("startup = shutdown"))
    for task in tasks:
        await (house.call(task, paused="true") if task == "start" else house.call(task))
    await house.kill(first)
    await next_monitor(house)
    await house.hear(state)
    await house.call("unpause")
    await house.hear("running")


async def test_a_domain_without_a_record_is_adopted_too(house: House) -> None:
    first = await house.monitor(house.config())
    await house.call("start")
    await house.kill(first)
    house.record().unlink()
    await next_monitor(house)
    await house.hear("running")


async def test_a_half_done_start_is_undone(house: House) -> None:
    before = await house.nodes()
    first = await house.monitor(house.config())
    with builds_held(house):
        starting = asyncio.create_task(house.call("start"))
        await house.hear("creating-domain")
        await house.until(lambda: house.domids())
        await house.kill(first)
        with pytest.raises(OpenxtError):
            await starting
        await next_monitor(house)
        await house.hear("shutdown")
    assert house.domids() == []
    assert await house.nodes() == before
    assert not house.record().exists()
    await house.call("start")
    await house.hear(*START)


async def test_a_half_done_halt_goes_on(house: House) -> None:
    before = await house.nodes()
    first = await house.monitor(house.config(cmdline=IGNORES), XENVM_ACKNOWLEDGE_S="600")
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    halting = asyncio.create_task(house.call("halt"))
    request = f"/local/domain/{domid}/control/shutdown"
    await house.store.wait_until(request, lambda value: value == "poweroff", 10)
    await house.kill(first)
    with pytest.raises(OpenxtError):
        await halting
    house.xen.tell(domid, "sim.shutdown=obey")
    await next_monitor(house)
    await house.hear("running", "shutdowning", "shutdown")
    await house.until(lambda: not house.record().exists())
    assert await house.nodes() == before


@pytest.mark.parametrize(
    ("lines", "deed", "trace"),
    [
        ((), "destroy_domain", ["shutdown"]),
        (("on_restart=preserve",), "reboot", ["running", "rebooted"]),
        (("on_restart=restart",), "reboot", ["running", "rebooted", *START]),
        ((), "crash", ["running", "error:crashed", "shutdown"]),
    ],
)
async def test_what_happened_while_nobody_watched_is_followed_up(
    house: House, lines: tuple[str, ...], deed: str, trace: list[str]
) -> None:
    first = await house.monitor(house.config(*lines))
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    await house.kill(first)
    getattr(house.xen, deed)(domid)
    await next_monitor(house, *lines)
    await house.hear(*trace)


async def test_domains_of_others_are_never_touched(house: House) -> None:
    other = house.xen.create_domain(DomainSpec(OTHER, Kind.PVH, 1))
    await house.store.write(f"/local/domain/{other}/vm", f"/vm/{OTHER}")
    await house.store.write(f"/local/domain/0/backend/console/{other}/0/state", "1")
    before = await house.nodes()
    house.record().parent.mkdir(parents=True)
    house.record().write_text(
        f'{{"version": 3, "uuid": "{UUID}", "pid": 1, "config": "", "state": "creating-domain",'
        f' "domid": {other}, "backends": [0], "attached": [], "devices": [],'
        ' "operation": {"name": "start"}}'
    )
    await next_monitor(house)
    await house.hear("shutdown")
    assert house.domids(OTHER) == [other]
    assert await house.nodes() == before


async def test_a_broken_record_is_no_obstacle(house: House) -> None:
    house.record().parent.mkdir(parents=True)
    house.record().write_text('{"version": 3')
    await next_monitor(house)
    await house.call("start")
    await house.hear(*START)


async def test_folders_that_a_killed_monitor_left_empty_go_with_the_next_domain(house: House) -> None:
    before = await house.nodes()
    await house.store.mkdir("/local/domain/0/backend/vif")
    await house.monitor(house.config("v4v=true"))
    await house.call("start")
    await house.call("destroy")
    assert await house.nodes() == before


LIVES = (("start", "halt"), ("start", "reboot"), ("start", "pause", "unpause", "destroy"))


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(effort(6, 60)))
async def test_killed_at_a_random_moment_nothing_is_lost(house: House, seed: int) -> None:
    chance = random.Random(seed)
    before = await house.nodes()
    monitor = await house.monitor(house.config("v4v=true"))
    life = asyncio.create_task(_live(house, chance.choice(LIVES)))
    await asyncio.sleep(chance.uniform(0.0, 0.3))
    await house.kill(monitor)
    await asyncio.gather(life, return_exceptions=True)
    await next_monitor(house, "v4v=true")

    async def agrees_with_xen() -> bool:
        """In the end: what was under way may still go on."""
        status = await house.call("get_status")
        return len(house.domids()) == (status in ("created", "running", "paused"))

    await house.until(agrees_with_xen)
    await house.call("destroy")
    assert house.domids() == []
    assert await house.nodes() == before
    assert not house.record().exists()
    await house.call("start")
    assert await house.call("get_status") == "running"


async def _live(house: House, tasks: tuple[str, ...]) -> None:
    for task in tasks:
        await house.call(task)
        if task == "start":
            await house.guest_is_up(house.domids()[0])


@pytest.mark.parametrize("boundary", ["1", "2", "3"])
async def test_killed_while_it_finishes_a_start_it_is_followed_by_one_that_does(
    house: House, boundary: str
) -> None:
    first = await house.monitor(house.config())
    await house.call("start", paused="true")
    await house.kill(first)
    found = json.loads(house.record().read_text())
    found["operation"] = {"name": "start"}  # that was to run, and was killed just before it did
    house.record().write_text(json.dumps(found))
    armed = house.file("armed")
    second = house.launch_program([str(DYING), boundary, str(armed)], house.config())
    await house.gone(second)
    await house.until(house.is_absent)
    await next_monitor(house)

    async def is_running() -> bool:
        return await house.call("get_status") == "running"

    await house.until(is_running)
    assert len(house.domids()) == 1
