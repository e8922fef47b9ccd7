# SPDX-License-Identifier: GPL-2.0-or-later
"""Each daemon of others, absent, late, hanging and started anew: VMs live all the same, the log says who it
is, and who is there is asked."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest
import pytest_asyncio
from mocked import Asked, Mocked, mocked
from xenmgr_house import Desk, desk

from openxt_api.ctxusb_daemon import USBDAEMON
from openxt_api.guest import GUEST
from openxt_api.input_daemon import INPUT
from openxt_api.network_daemon import NETWORKDAEMON
from openxt_api.surfman import SURFMAN
from openxt_api.xcpmd import XCPMD
from openxt_api.xenmgr_host import XENMGR_HOST
from openxt_core.ids import underscored
from openxt_core.spec import Interface

in_module = pytest.mark.asyncio(loop_scope="module")

HANGS = "self.time.sleep(60)"
ENTER_S3 = "/usr/share/xenclient/enter-s3.sh"
ABSENT, CAME, WENT = "is not there", "is there", "has gone"
IMPATIENCE = {"XENMGR_ANSWER_S": "2", "XENMGR_AGENT_ANSWER_S": "2", "XENMGR_AGENT_S": "2"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def it() -> AsyncIterator[Desk]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in IMPATIENCE.items():
            patch.setenv(name, value)
        async with desk() as opened:
            sleep = opened.places.at(ENTER_S3)
            sleep.parent.mkdir(parents=True, exist_ok=True)
            sleep.write_text(f"#!/bin/sh\necho asleep >> {opened.places.storage}/slept\n")
            sleep.chmod(0o755)
            yield opened


Deed = Callable[[Desk, str, Mocked | None], Awaitable[Asked | None]]
"""What xenmgr does for a new VM that this daemon is asked or told about; returns the call that must come."""


async def runs_network_vm(it: Desk, vm: str, _: Mocked | None) -> Asked:
    await it.set(vm, "provides-network-backend", "b", True)
    await it.vm(vm, "start")
    return ("ndvm_status", it.uuid(vm), await it.get(vm, "domid"), 1)


async def moves_to_slot(it: Desk, vm: str, _: Mocked | None) -> Asked:
    await it.vm(vm, "start")
    await it.set(vm, "slot", "i", 9)
    return ("set_slot", await it.get(vm, "domid"), 9)


async def sleeps(it: Desk, _vm: str, _: Mocked | None) -> Asked:
    before = slept(it)
    await it.call("/host", XENMGR_HOST.name, "sleep")
    assert slept(it) == before + 1
    return ("pre_s3",)


def slept(it: Desk) -> int:
    """How often the host did."""
    told = it.places.storage / "slept"
    return told.read_text().count("asleep") if told.exists() else 0


async def runs(it: Desk, vm: str, _: Mocked | None) -> Asked:
    await it.vm(vm, "start")
    return ("new_vm", await it.get(vm, "domid"))


async def presses_button(it: Desk, _vm: str, daemon: Mocked | None) -> None:
    """A daemon that only tells: without it, or while it hangs, nothing is told."""
    if daemon is not None:
        before = slept(it)
        await daemon.emit("sleep_button_pressed")
        await it.until(lambda: slept(it) == before + 1)


async def shuts_down(it: Desk, vm: str, _: Mocked | None) -> Asked:
    await it.vm(vm, "start")
    await it.listens(vm)
    await it.vm(vm, "shutdown")
    assert await it.state(vm) == "stopped"
    return ("request_shutdown",)


@dataclass(frozen=True)
class Companion:
    spec: Interface
    deed: Deed
    hangs: str = ""  # the method that does; none: it is only heard

    def there(self, it: Desk, vm: str, **answers: str) -> AbstractAsyncContextManager[Mocked]:
        return mocked(it.house, self.spec, name=self.name(it, vm), **answers)

    def name(self, it: Desk, vm: str) -> str:
        """An agent has its guest's own."""
        return f"{GUEST.name}.uuid_{underscored(it.uuid(vm))}" if self.spec is GUEST else self.spec.name

    @property
    def is_followed(self) -> bool:
        """Agents come and go with their guests, which nobody needs to be told."""
        return self.spec is not GUEST


COMPANIONS = (
    Companion(NETWORKDAEMON, runs_network_vm, "ndvm_status"),
    Companion(INPUT, moves_to_slot, "set_slot"),
    Companion(SURFMAN, sleeps, "pre_s3"),
    Companion(USBDAEMON, runs, "new_vm"),
    Companion(XCPMD, presses_button),
    Companion(GUEST, shuts_down, "request_shutdown"),
)


class Log:
    """What xenmgr has written since this was made."""

    def __init__(self, it: Desk) -> None:
        self._it, self._from = it, len(it.house.log("xenmgr"))

    async def until_said(self, *words: str) -> None:
        def is_there() -> bool:
            lines = self._it.house.log("xenmgr")[self._from :].splitlines()
            return any(all(word in line for word in words) for line in lines)

        await self._it.until(is_there)


async def until_asked(it: Desk, daemon: Mocked, call: Asked | None) -> None:
    async def is_asked() -> bool:
        return call in await daemon.asked()

    if call is not None:
        await it.until(is_asked)


async def absent(it: Desk, one: Companion, vm: str) -> None:
    await one.deed(it, vm, None)
    if one.is_followed:
        assert f"{one.spec.name} {ABSENT}" in it.house.log("xenmgr")


async def late(it: Desk, one: Companion, vm: str) -> None:
    log = Log(it)
    async with one.there(it, vm) as daemon:
        await it.until_there(daemon.name)
        await until_asked(it, daemon, await one.deed(it, vm, daemon))
    if one.is_followed:
        await log.until_said(one.spec.name, CAME)


async def hanging(it: Desk, one: Companion, vm: str) -> None:
    log = Log(it)
    answers = {one.hangs: HANGS} if one.hangs else {}
    async with one.there(it, vm, **answers) as daemon:
        await it.until_there(daemon.name)
        await one.deed(it, vm, None)
        if one.hangs:
            await log.until_said(f".{one.hangs}", "did not answer within")


async def restarting(it: Desk, one: Companion, vm: str) -> None:
    log = Log(it)
    async with one.there(it, vm) as daemon:
        await it.until_there(daemon.name)
    if one.is_followed:
        await log.until_said(one.spec.name, WENT)
    async with one.there(it, vm) as anew:
        await it.until_there(anew.name)
        await until_asked(it, anew, await one.deed(it, vm, anew))


@pytest.mark.parametrize("condition", [absent, late, hanging, restarting], ids=lambda one: one.__name__)
@pytest.mark.parametrize("companion", COMPANIONS, ids=lambda one: one.spec.name.rpartition(".")[2])
@in_module
async def test_vms_live_and_the_log_says_who_did_not_answer(
    it: Desk, companion: Companion, condition: Callable[[Desk, Companion, str], Awaitable[None]]
) -> None:
    vm = await it.create()
    try:
        await condition(it, companion, vm)
    finally:
        await it.vm(vm, "destroy")
        await it.vm(vm, "delete")
