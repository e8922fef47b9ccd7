# SPDX-License-Identifier: GPL-2.0-or-later
"""What a monitor tells of each thing that can happen to a VM, as a bus monitor hears it.

**Source:** OpenXT xenvm, 2015: the notifications that its clients wait for.
"""

import contextlib
import errno
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from bus_monitor import Message, monitored
from xenvm_house import START, UUID, House

from openxt_core.errors import RemoteError
from openxt_core.ids import Domid, xenvm_path
from openxt_xen.hypervisor import ShutdownReason

Deed = Callable[[House, Domid], Awaitable[Any]]
RULE = "type='signal',interface='xenvm.signal.notify',member='notify'"
CODES = {"vm:state": 0xF000, "error": 2, "power-state": 0x2000, "ping": 0, "dbus-rpc-up": 0}
RESTORE = ["restoring", *START]


def task(name: str, **given: str) -> Deed:
    async def deed(house: House, _domid: Domid) -> None:
        await house.call(name, **{key: text.format(root=house.root) for key, text in given.items()})

    return deed


def refused(name: str, **given: str) -> Deed:
    async def deed(house: House, _domid: Domid) -> None:
        with pytest.raises(RemoteError):
            await house.call(name, **given)

    return deed


def failing(call: str) -> Deed:
    """A start during which this call of Xen fails."""

    async def deed(house: House, domid: Domid) -> None:
        house.xen.fail_next(call, errno.EPERM)
        await refused("start")(house, domid)

    return deed


def in_turn(*deeds: Deed) -> Deed:
    async def deed(house: House, domid: Domid) -> None:
        for one in deeds:
            await one(house, domid)

    return deed


async def poweroff(house: House, domid: Domid) -> None:
    house.xen.shutdown(domid, ShutdownReason.POWEROFF)


async def reboot(house: House, domid: Domid) -> None:
    house.xen.reboot(domid)


async def crash(house: House, domid: Domid) -> None:
    house.xen.crash(domid)


async def sleeps_and_wakes(house: House, domid: Domid) -> None:
    """The device model notes power states; two that follow at once may be seen as one."""
    node = f"/local/domain/{domid}/power-state"
    house.silence()
    await house.store.write(node, "3")
    await house.hear("power-state:3")
    await house.store.write(node, "0")


async def noted_hibernation(house: House, domid: Domid) -> None:
    """The device model notes it before the guest is off."""
    await house.store.write(f"/local/domain/{domid}/power-state", "4")
    await house.call("s4suspend", timeout="10")


async def devices_fail(house: House, domid: Domid) -> None:
    """A start during which dom0 refuses the disk."""
    house.keeper.folder.mkdir(parents=True, exist_ok=True)
    (house.keeper.folder / "refused").write_text(str(house.file("disk.img")))
    await refused("start")(house, domid)


@dataclass(frozen=True)
class Trace:
    name: str
    messages: list[str]
    deed: Deed
    lines: tuple[str, ...] = ()  # of the config
    running: bool = True  # the VM, before the deed
    cmdline: str = ""


TRACES = (
    Trace("start", START, task("start"), running=False),
    Trace(
        "start paused, then unpause",
        START,
        in_turn(task("start", paused="true"), task("unpause")),
        running=False,
    ),
    Trace("createdomain fails", ["creating-domain", "shutdown"], failing("create_domain"), running=False),
    Trace("image build fails", ["creating-domain", "shutdown"], failing("build_pvh"), running=False),
    Trace(
        "device creation fails",
        ["creating-domain", "creating-devices", "shutdown"],
        devices_fail,
        ("disk = {root}/disk.img:file:xvda:w:disk:",),
        running=False,
    ),
    Trace("halt", ["shutdowning", "shutdown"], task("halt")),
    Trace("halt by force", ["shutdowning", "shutdown"], task("halt", force="true")),
    Trace("halt refused", [], refused("halt"), cmdline="sim.shutdown=ignore"),
    Trace("destroy", ["shutdown"], task("destroy")),
    Trace("destroy of one that is stopped", ["shutdown"], task("destroy"), running=False),
    Trace("reboot", ["shutdowning", "rebooting", "rebooted"], task("reboot")),
    Trace("reboot with auto-start", ["shutdowning", "rebooting", *START], task("reboot", auto_start="true")),
    Trace("guest powers off", ["shutdown"], poweroff, ("on_halt=destroy",)),
    Trace("guest reboots, preserve", ["rebooted"], reboot, ("on_restart=preserve",)),
    Trace("guest reboots, restart", ["rebooted", *START], reboot, ("on_restart=restart",)),
    Trace("guest reboots, destroy", ["rebooted", "shutdown"], reboot, ("on_restart=destroy",)),
    Trace("guest crashes", ["error:crashed", "shutdown"], crash, ("on_crash=destroy",)),
    Trace("suspend", ["suspending", "suspended"], task("suspend", file="{root}/saved")),
    Trace(
        "suspend and restore",
        ["suspending", "suspended", *RESTORE],
        in_turn(task("suspend", file="{root}/saved"), task("restore", file="{root}/saved")),
    ),
    Trace("pause and unpause", ["paused", "running"], in_turn(task("pause"), task("unpause"))),
    Trace("S3 and its end", ["power-state:3", "power-state:0"], sleeps_and_wakes),
    Trace("S3 without a device model", ["power-state:3"], task("s3suspend", timeout="10")),
    Trace("S4", ["power-state:4", "shutdown"], noted_hibernation),
    Trace("S4 without a device model", ["power-state:4", "shutdown"], task("s4suspend", timeout="10")),
)


def words(message: Message) -> str:
    return message.texts[2].removeprefix("vm:state:")


@pytest.mark.parametrize("trace", TRACES, ids=[trace.name for trace in TRACES])
async def test_what_happens_is_told_in_the_original_s_words_and_order(house: House, trace: Trace) -> None:
    house.file("disk.img")
    lines = [line.format(root=house.root) for line in trace.lines]
    await house.monitor(house.config(*lines, cmdline=trace.cmdline), XENVM_ACKNOWLEDGE_S="0.5")
    domid = Domid(-1)
    if trace.running:
        await house.call("start")
        (domid,) = house.domids()
        with contextlib.suppress(TimeoutError):
            await house.guest_is_up(domid)
    async with monitored(house.bus, house.environ["DBUS_SYSTEM_BUS_ADDRESS"], RULE) as monitor:
        await trace.deed(house, domid)

        async def is_told() -> bool:
            return len(await monitor.so_far()) >= len(trace.messages)

        await house.until(is_told)
        heard = await monitor.so_far()
        assert [words(one) for one in heard] == trace.messages
        for one in heard:
            assert (one.path, one.texts[0]) == (xenvm_path(UUID), UUID)
            assert int(one.texts[1]) == CODES[one.texts[2].rpartition(":")[0] or one.texts[2]]


async def test_a_process_begins_with_a_ping_and_says_when_it_serves(house: House) -> None:
    async with monitored(house.bus, house.environ["DBUS_SYSTEM_BUS_ADDRESS"], RULE) as monitor:
        await house.monitor(house.config())
        assert [words(one) for one in await monitor.so_far()] == ["ping", "dbus-rpc-up"]
