# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain's end is heard of, and told as it was, whatever a guest writes, Xen answers, or others do."""

import errno
import signal

import pytest
from xenvm_house import START, House

from openxt_xen.hypervisor import ShutdownReason
from openxt_xenvm.notify import MAX_VALUE


@pytest.mark.parametrize("value", ["\0", "3\nxenvm[1]: ERROR a line", "x" * 3000, "\x1b[2J"])
async def test_whatever_is_in_a_watched_node_the_guests_end_is_told(house: House, value: str) -> None:
    domid = await house.running()
    await house.store.write(f"/local/domain/{domid}/power-state", value)
    notice = await house.heard.get()
    assert notice.isprintable()
    assert len(notice) <= len("power-state:") + MAX_VALUE
    house.xen.shutdown(domid, ShutdownReason.POWEROFF)
    await house.hear("shutdown")


async def test_a_look_that_fails_is_taken_again(house: House) -> None:
    domid = await house.running()
    house.xen.fail_next("info", errno.ENOMEM)
    house.xen.shutdown(domid, ShutdownReason.POWEROFF)
    await house.hear("shutdown")
    assert house.domids() == []


@pytest.mark.parametrize(
    ("reason", "heard"), [(ShutdownReason.CRASH, ["error:crashed"]), (ShutdownReason.SUSPEND, [])]
)
async def test_a_domain_that_ended_and_was_left_may_still_vanish(
    house: House, reason: ShutdownReason, heard: list[str]
) -> None:
    domid = await house.running("on_crash = preserve")
    house.xen.shutdown(domid, reason)
    await house.hear(*heard)
    await house.until(lambda: house.call("get_status"))  # the news of its end is dealt with
    house.xen.destroy_domain(domid)
    await house.hear("shutdown")
    await house.call("start")
    await house.hear(*START)


async def test_a_start_of_a_vm_whose_domain_has_just_vanished(house: House) -> None:
    """The monitor finds the start and the news waiting, in whatever order."""
    domid = await house.running()
    (monitor,) = house.monitors
    monitor.send_signal(signal.SIGSTOP)
    house.xen.destroy_domain(domid)
    starting = house.call("start")
    monitor.send_signal(signal.SIGCONT)
    await starting
    await house.hear("shutdown", *START)
    (found,) = house.domids()
    assert found != domid
    await house.call("halt")
    await house.hear("shutdowning", "shutdown")
