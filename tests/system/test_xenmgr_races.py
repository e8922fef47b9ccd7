# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs of a VM that follow one another closely: nothing of the old one is done to the new one.

**Source:** the races of OpenXT xenmgr, 2015, which docs/compat.md names: its clean-up after a reboot hit the
new run, a VM that was made again heard nothing, keep-alive fought with the host's shutdown.
"""

import errno
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from viptables import Viptables
from xenmgr_house import Desk, desk

from openxt_api.xenmgr_host import XENMGR_HOST
from openxt_xen.hypervisor import HvmParam

STARTED = ["creating"] * 4 + ["running"]
ENTER_S3, POWEROFF = "/usr/share/xenclient/enter-s3.sh", "/sbin/poweroff"
BASE = ["ACCEPT 0:* -> 0:*", "REJECT *:* -> *:*"]


@pytest.fixture
async def it(viptables: Viptables) -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


def program(it: Desk, path: str) -> Path:
    """A power program of the host; the file that is there once it has run."""
    file, told = it.places.at(path), it.places.storage / "ran"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\ntouch {told}\n")
    file.chmod(0o755)
    return told


async def running(it: Desk, *switches: str) -> str:
    path = await it.create()
    for name in switches:
        await it.set(path, name, "b", True)
    await it.vm(path, "start")
    await it.listens(path)
    return path


async def test_the_clean_up_after_a_reboot_is_done_once_and_before_the_next_run(
    it: Desk, viptables: Viptables
) -> None:
    """With all that it takes away: rules, export, disc; and with keep-alive, which would start it twice."""
    path = await it.create()
    uuid = it.uuid(path)
    await it.db("inject", f"/vm/{uuid}/v4v-firewall-rules", '{"0": "myself -> 0:5555"}')
    await it.db("write", f"/appliance/shop/vm/{uuid}/id", "web")
    for name in ("keep-alive", "ovf-transport-iso"):
        await it.set(path, name, "b", True)
    await it.vm(path, "start")
    await it.listens(path)
    viptables.forget()
    old = await it.get(path, "domid")
    it.xen().reboot(old)
    await it.until(lambda: it.states_told(path).count("running") == 2)
    (new,) = it.domids(path)
    assert it.states_told(path) == [*STARTED, "rebooted", "stopped", *STARTED]
    assert [f"--dom-in {old} " in line for line in viptables.commands()] == [True, False, False, False]
    assert viptables.table()[2:] == BASE
    assert any(f"{new}:" in line for line in viptables.table()[:2])
    assert await it.house.xenstore.read(f"/xenmgr/vms/{uuid}/domid") == str(new)
    assert it.places.at(f"/var/lib/ovf/{uuid}-env.iso").exists()
    await it.set(path, "keep-alive", "b", False)
    await it.vm(path, "destroy")
    assert viptables.table() == BASE


async def test_a_vm_that_is_made_again_under_its_uuid_is_heard_and_each_word_once(it: Desk) -> None:
    path = await running(it)
    uuid = it.uuid(path)
    await it.vm(path, "destroy")
    await it.vm(path, "delete")
    it.signals.clear()
    document = json.dumps({**json.loads(it.document()), "uuid": uuid})
    assert await it.root("create_vm_with_template_and_json", "new-vm-linux", document) == path
    await it.vm(path, "start")
    assert it.states_told(path) == STARTED
    await it.vm(path, "destroy")
    assert it.states_told(path) == [*STARTED, "stopped"]


async def test_keep_alive_does_not_fight_with_a_host_that_goes_down(it: Desk) -> None:
    done, path = program(it, POWEROFF), await running(it, "keep-alive")
    await it.call("/host", XENMGR_HOST.name, "shutdown")
    assert done.exists()
    await it.until(lambda: "the host is shutting-down: no VM starts" in it.house.log("xenmgr"))
    assert (await it.state(path), it.domids(path)) == ("stopped", [])
    assert it.states_told(path)[-1] == "stopped"


async def test_a_vm_that_does_not_wake_leaves_no_other_asleep(it: Desk) -> None:
    program(it, ENTER_S3)
    first, second = await running(it, "pv-addons"), await running(it, "pv-addons")
    it.xen().fail_next("set_hvm_param", errno.EPERM)
    await it.call("/host", XENMGR_HOST.name, "sleep")
    assert "did not come back after the sleep" in it.house.log("xenmgr")
    domids = [it.domids(path)[0] for path in (first, second)]
    assert sorted(it.xen().get_hvm_param(domid, HvmParam.ACPI_S_STATE) for domid in domids) == [0, 3]
    assert await it.get("/host", "state", XENMGR_HOST.name) == "idle"
