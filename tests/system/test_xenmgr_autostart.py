# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs that start by themselves when the host boots: order, queue, delays, failures, restarts of xenmgr."""

from collections.abc import AsyncIterator

import pytest
from xenmgr_house import UNRESTRICTED, Desk, desk

from openxt_api.xenmgr import XENMGR_CONFIG

SERVICE_VMS = [f"/vm/00000000_0000_0000_0000_00000000000{number}" for number in (1, 2)]
INPUT = "com.citrix.xenclient.input"
PENDING = "/xenmgr/autostart-pending-vms"


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    """A host whose service VMs, which need a whole HVM guest, stay out of the way."""
    async with desk() as opened:
        for tag in ("uivm", "ndvm"):
            await opened.db("write", f"/xenmgr/overwrite-{tag}-settings", "false")
        for path in SERVICE_VMS:
            await opened.set(path, "start-on-boot", "b", False, UNRESTRICTED)
        yield opened


async def booting(it: Desk, priority: int, type: str = "svm") -> str:
    """Path of a VM that starts when the host boots."""
    path = await it.create()
    await it.set(path, "start-on-boot", "b", True)
    await it.set(path, "start-on-boot-priority", "i", priority)
    await it.set(path, "type", "s", type)
    return path


def begun(it: Desk) -> list[str]:
    """The VMs whose start was told, in that order."""
    told = [body[1] for name, body in it.signals if name == "vm_state_changed" and body[2] == "creating"]
    return list(dict.fromkeys(told))


async def queue_is_empty(it: Desk) -> None:
    async def is_empty() -> bool:
        return not await it.db("exists", PENDING)

    await it.until(is_empty)


async def test_vms_start_one_after_another_by_priority_and_service_vms_first(it: Desk) -> None:
    late, user, service, first = (
        await booting(it, -1),
        await booting(it, 0),
        await booting(it, 0, "ndvm"),
        await booting(it, 5),
    )
    other = await it.create()
    await it.boot()
    for path in (first, service, user, late):
        await it.until_state(path, "running")
    await queue_is_empty(it)
    assert begun(it) == [first, service, user, late]
    assert await it.state(other) == "stopped"


async def test_with_no_autostart_nothing_starts_and_no_queue_stays(it: Desk) -> None:
    path = await booting(it, 0)
    await it.db("write", f"{PENDING}/0", it.uuid(path))
    await it.restart("--no-autostart")
    assert (await it.state(path), await it.db("exists", PENDING)) == ("stopped", False)
    await it.set("/", "autostart", "b", False, XENMGR_CONFIG.name)
    await it.boot()
    await queue_is_empty(it)
    assert (await it.state(path), begun(it)) == ("stopped", [])


async def test_a_vm_that_fails_does_not_hold_up_the_next(it: Desk) -> None:
    bad, good = await booting(it, 2), await booting(it, 1)
    await it.set(bad, "kernel", "s", "/nonesuch")
    await it.boot()
    await it.until_state(good, "running")
    await queue_is_empty(it)
    assert await it.state(bad) == "stopped"
    assert f"autostart of VM {it.uuid(bad)} failed" in it.house.log("xenmgr")


async def test_a_killed_xenmgr_goes_on_with_the_queue_and_leaves_what_was_stopped(it: Desk) -> None:
    first, second = await booting(it, 2), await booting(it, 1)
    await it.set(first, "boot-sentinel", "s", "booted")
    await it.boot()
    await it.until_state(first, "running")
    assert await it.get(second, "autostart-pending")
    await it.restart()
    await it.until_state(second, "running")
    await queue_is_empty(it)
    assert [len(it.domids(path)) for path in (first, second)] == [1, 1]
    await it.vm(second, "shutdown")
    await it.restart()
    assert (await it.state(first), await it.state(second)) == ("running", "stopped")
    assert not await it.get(second, "autostart-pending")


async def test_the_boot_sentinel_holds_up_the_next_vm_until_the_guest_speaks(it: Desk) -> None:
    first, second = await booting(it, 2), await booting(it, 1)
    await it.set(first, "boot-sentinel", "s", "booted")
    await it.boot()
    await it.until_state(first, "running")
    assert await it.state(second) == "stopped"
    await it.house.xenstore.write(f"/local/domain/{await it.get(first, 'domid')}/booted", "1")
    await it.until_state(second, "running")


async def test_user_vms_wait_for_the_installation_and_come_after_the_next_login(it: Desk) -> None:
    user, service = await booting(it, 2), await booting(it, 1, "ndvm")
    deferred = it.places.at("/config/deferred_eula")
    deferred.touch()
    await it.boot()
    await it.until_state(service, "running")
    assert (await it.state(user), await it.get(user, "autostart-pending")) == ("stopped", True)
    deferred.unlink()
    assert await it.house.bus.request_name(INPUT)
    it.house.bus.emit("/", INPUT, "auth_status", "si", ("auth_success", 0))
    await it.house.bus.release_name(INPUT)  # it answers no calls
    await it.until_state(user, "running")
    await queue_is_empty(it)
