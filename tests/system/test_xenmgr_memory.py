# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs that make room for each other, on a host whose memory is nearly used up."""

from collections.abc import AsyncIterator

import pytest
from xenmgr_house import Desk, desk, refused

from openxt_api.xenmgr_host import XENMGR_HOST
from openxt_xen.xenstore import paths

HOST = XENMGR_HOST.name


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


async def free_mib(it: Desk) -> int:
    return int(await it.get("/host", "free-mem", HOST))


async def big(it: Desk, least: int, cmdline: str = "") -> str:
    """A running VM that leaves 100 MiB to others, and can do with `least` MiB."""
    memory = await free_mib(it) - 100 - 16  # what Xen itself takes
    path = await it.create(memory=str(memory), cmdline=cmdline, **{"memory-min": str(least)})
    await it.vm(path, "start")
    return path


async def small(it: Desk, memory: int, least: int | None = None) -> str:
    return await it.create(memory=str(memory), **{"memory-min": str(least or memory)})


async def target(it: Desk, path: str) -> int:
    return int(await it.get(path, "memory-target"))


async def test_a_running_vm_gives_just_what_the_next_one_lacks(it: Desk) -> None:
    giver, taker = await big(it, 64), await small(it, 400)
    had, available = await target(it, giver), int(await it.get("/host", "avail-mem", HOST))
    assert available > 500
    await it.vm(taker, "start")
    assert await target(it, taker) == 400
    assert 64 < await target(it, giver) < had - 250
    assert await free_mib(it) < 64
    await it.vm(taker, "destroy")
    assert await target(it, giver) < had


async def test_a_vm_that_may_not_shrink_gives_nothing_and_keeps_its_target(it: Desk) -> None:
    keeper = await big(it, 0)
    least = await it.get(keeper, "memory")
    await it.set(keeper, "memory-min", "i", least)
    had = await target(it, keeper)
    taker = await small(it, 400)
    assert (await it.fails(it.vm(taker, "start"))).startswith(refused(101))
    assert (await target(it, keeper), await it.state(taker), it.domids(taker)) == (had, "stopped", [])


async def test_a_vm_starts_in_its_least_memory_when_there_is_no_more(it: Desk) -> None:
    keeper = await big(it, 0)
    had = await target(it, keeper)
    taker = await small(it, 400, least=48)
    await it.vm(taker, "start")
    assert await target(it, taker) == 48
    assert await target(it, keeper) == had
    assert await it.get(taker, "memory") == 400


async def test_a_guest_that_keeps_its_memory_costs_the_start_and_has_its_target_back(it: Desk) -> None:
    keeper = await big(it, 64, cmdline="sim.boot=hang")  # it never hears of its target
    had = await it.house.xenstore.read(paths.memory_target(await it.get(keeper, "domid")))
    taker = await small(it, 400)
    assert (await it.fails(it.vm(taker, "start"))).startswith(refused(101))
    assert await it.house.xenstore.read(paths.memory_target(await it.get(keeper, "domid"))) == had
    assert await it.state(keeper) == "running"
