# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents inside guests, asked to shut down, hibernate, reboot: they go before xenvm, and may refuse."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from mocked import Mocked, mocked
from xenmgr_house import Desk, desk

from openxt_api.guest import GUEST
from openxt_core.ids import Domid, underscored
from openxt_xen.hypervisor import ShutdownReason


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


async def running(it: Desk) -> str:
    path = await it.create()
    await it.vm(path, "start")
    await it.listens(path)
    return path


@contextlib.asynccontextmanager
async def agent(it: Desk, path: str, **answers: str) -> AsyncIterator[Mocked]:
    name = f"{GUEST.name}.uuid_{underscored(it.uuid(path))}"
    async with mocked(it.house, GUEST, name=name, **answers) as one:
        yield one


async def until_asked(it: Desk, one: Mocked, request: str) -> None:
    async def is_asked() -> bool:
        return (request,) in await one.asked()

    await it.until(is_asked)


async def end(it: Desk, path: str, reason: ShutdownReason) -> None:
    """What the guest does when its agent has been asked."""
    it.xen().shutdown(Domid(await it.get(path, "domid")), reason)


def console(it: Desk, path: str) -> str:
    files = it.house.layout.consoles.glob("*.log")
    return "".join(file.read_text() for file in files)


@pytest.mark.parametrize(("member", "hibernated"), [("shutdown", False), ("hibernate", True)])
async def test_an_agent_ends_its_guest_and_nobody_else_does(
    it: Desk, member: str, *, hibernated: bool
) -> None:
    path = await running(it)
    async with agent(it, path) as one:
        ending = asyncio.create_task(it.vm(path, member))
        await until_asked(it, one, f"request_{member}")
        assert await it.state(path) == "running"
        await end(it, path, ShutdownReason.POWEROFF)
        await ending
    assert (await it.state(path), await it.get(path, "hibernated")) == ("stopped", hibernated)
    assert "GUEST shutdown" not in console(it, path)


async def test_an_agent_that_refuses_leaves_it_to_xenvm(it: Desk) -> None:
    path = await running(it)
    async with agent(it, path, request_shutdown="1 / 0") as one:
        await it.vm(path, "shutdown")
        assert ("request_shutdown",) in await one.asked()
    assert await it.state(path) == "stopped"
    assert "GUEST shutdown poweroff" in console(it, path)


async def test_an_agent_that_dies_while_it_is_asked_leaves_it_to_xenvm(it: Desk) -> None:
    path = await running(it)
    async with agent(it, path, request_shutdown="__import__('os')._exit(1)"):
        await it.vm(path, "shutdown")
    assert await it.state(path) == "stopped"


async def test_an_agent_reboots_its_guest(it: Desk) -> None:
    path = await running(it)
    async with agent(it, path) as one:
        await it.vm(path, "reboot")
        assert ("request_reboot",) in await one.asked()
        assert "GUEST shutdown" not in console(it, path)
        await end(it, path, ShutdownReason.REBOOT)
        await it.until(lambda: it.states_told(path).count("running") == 2)


async def test_the_agent_of_another_vm_is_not_asked(it: Desk) -> None:
    path, other = await running(it), await running(it)
    async with agent(it, other) as one:
        await it.vm(path, "shutdown")
        assert await one.asked() == []
    assert [await it.state(vm) for vm in (path, other)] == ["stopped", "running"]
