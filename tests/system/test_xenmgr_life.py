# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs living under xenmgr, with real monitors and the simulated Xen: starts, ends, failures, what is left."""

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from xenmgr_house import VM, Desk, desk, refused

from openxt_bus.connection import Bus

STARTED = ["creating", "creating", "creating", "creating", "running"]


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


def script(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return str(path)


async def guest_is_up(it: Desk, path: str) -> None:
    """It watches its control nodes now."""
    domid = await it.get(path, "domid")
    feature = f"/local/domain/{domid}/control/feature-poweroff"
    await it.house.xenstore.wait_until(feature, lambda value: value == "1", 10)


# The whole life


@pytest.mark.parametrize("kind", ["pvh", "pv"])
async def test_a_whole_life_leaves_host_and_database_as_before(it: Desk, kind: str) -> None:
    nodes, files = await it.nodes(), it.files()
    path = await it.create(**{"virt-type": kind})
    await it.vm(path, "start")
    domid = await it.get(path, "domid")
    assert it.domids(path) == [domid]
    assert await it.state(path) == "running"
    assert await it.root("list_domids") == [domid]
    assert await it.call("/", "com.citrix.xenclient.xenmgr", "find_vm_by_domid", "i", domid) == path
    assert await it.get(path, "memory-target") == 64
    await guest_is_up(it, path)
    await it.vm(path, "pause")
    assert await it.state(path) == "paused"
    await it.vm(path, "unpause")
    assert await it.state(path) == "running"
    await it.vm(path, "shutdown")
    assert (await it.state(path), await it.get(path, "domid"), await it.get(path, "acpi-state")) == (
        "stopped",
        -1,
        5,
    )
    assert it.states_told(path) == [*STARTED, "paused", "running", "stopping", "stopped"]
    await it.vm(path, "delete")
    assert not await it.has_monitor(path)
    assert (await it.nodes(), it.files()) == (nodes, files)


async def test_the_running_vm_is_shown_to_switcher_and_toolstack(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    uuid, domid = it.uuid(path), await it.get(path, "domid")
    nodes = await it.nodes()
    shown = {
        name.rpartition("/")[2]: value
        for name, value in nodes.items()
        if name.startswith(f"/xenmgr/vms/{uuid}/")
    }
    assert shown == {
        "domid": str(domid),
        "name": "guest",
        "slot": "1",
        "image": "",
        "type": "svm",
        "hidden": "0",
        "hide-switcher": "0",
        "seamlessid": uuid,
    }
    assert nodes[f"/local/domain/{domid}/name"] == "guest"
    assert nodes[f"/local/domain/{domid}/v4v-firewall-ready"] == "1"
    assert nodes[f"/vm/{uuid}/state"] == "running"
    await it.set(path, "name", "s", "renamed")
    assert await it.house.xenstore.read(f"/xenmgr/vms/{uuid}/name") == "renamed"
    await it.vm(path, "shutdown")
    assert await it.house.xenstore.list("/xenmgr/vms") == []


async def test_the_configuration_file_is_private_and_says_what_was_stored(it: Desk) -> None:
    path = await it.create(**{"cmdline": "quiet"})
    await it.vm(path, "start")
    file = it.places.xenvm_config(it.uuid(path))
    assert file.stat().st_mode & 0o777 == 0o600
    lines = file.read_text().splitlines()
    assert {"cmdline=quiet", "memory=64", "virt-type=pvh", "on_restart=preserve"} <= set(lines)


async def test_a_vm_starts_many_times_with_one_monitor(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    first = await it.monitor_pid(path)
    for memory in (65, 66):
        await it.vm(path, "destroy")
        await it.set(path, "memory", "i", memory)
        await it.vm(path, "start")
        assert await it.get(path, "memory-target") == memory
    assert await it.monitor_pid(path) == first


async def test_starting_what_runs_does_nothing_and_tells_nothing(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    told = it.states_told(path)
    await it.vm(path, "start")
    assert (await it.state(path), it.states_told(path)) == ("running", told)


async def test_many_starts_at_once_are_one_start(it: Desk) -> None:
    path = await it.create()
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(it.vm(path, "start"))
    assert len(it.domids(path)) == 1
    assert it.states_told(path) == STARTED


async def test_vms_do_not_wait_for_each_other(it: Desk) -> None:
    paths = [await it.create() for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        for path in paths:
            group.create_task(it.vm(path, "start"))
    assert [await it.state(path) for path in paths] == ["running"] * 4
    assert len(set(await it.root("list_domids"))) == 4


async def test_running_vms_are_not_deleted(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    assert (await it.fails(it.vm(path, "delete"))) == "204:Cannot remove running VM"
    await it.vm(path, "pause")
    assert (await it.fails(it.vm(path, "delete"))).startswith(refused(204))
    assert await it.state(path) == "paused"


async def test_what_needs_a_running_vm_says_so(it: Desk) -> None:
    path = await it.create()
    for member in ("pause", "unpause", "reboot"):
        assert (await it.fails(it.vm(path, member))).startswith(refused(102))
    for member in ("shutdown", "destroy"):
        await it.vm(path, member)
    assert await it.state(path) == "stopped"


async def test_a_guest_asks_for_attention_under_its_own_name_only() -> None:
    guest_request = "com.citrix.xenclient.xenmgr.guestreq"
    async with desk("rpc-proxy") as it:
        path = await it.create()
        await it.vm(path, "start")
        await it.call("/", guest_request, "request_attention")  # dom0 asks for nothing
        socket = it.places.run / "guests" / str(await it.get(path, "domid")) / "5555"
        guest = await Bus.connect(f"unix:path={socket}")
        await guest.call("com.citrix.xenclient.xenmgr", "/", guest_request, "request_attention")
        guest.close()
        await it.until_told("requested_attention", path)
        assert it.count("requested_attention", path) == 1


# Ends that come from the guest


async def test_a_guest_that_reboots_runs_again_cleanly(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    await guest_is_up(it, path)
    old = await it.get(path, "domid")
    it.xen().reboot(old)
    await it.until(lambda: it.states_told(path).count("running") == 2)
    assert it.states_told(path) == [*STARTED, "rebooted", "stopped", *STARTED]
    assert it.domids(path) == [await it.get(path, "domid")]
    assert await it.house.xenstore.read(f"/xenmgr/vms/{it.uuid(path)}/domid") == str(it.domids(path)[0])


async def test_the_reboot_method_applies_what_was_changed(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    await guest_is_up(it, path)
    await it.set(path, "memory", "i", 80)
    await it.vm(path, "reboot")
    await it.until(lambda: it.states_told(path).count("running") == 2)
    assert await it.get(path, "memory-target") == 80


async def test_preserve_on_reboot_leaves_it_rebooted(it: Desk) -> None:
    path = await it.create()
    await it.set(path, "preserve-on-reboot", "b", True)
    await it.vm(path, "start")
    it.xen().reboot(await it.get(path, "domid"))
    await it.until_state(path, "rebooted")
    await it.vm(path, "start")
    assert await it.state(path) == "running"


async def test_a_guest_that_crashes_is_stopped_and_leaves_nothing(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    it.xen().crash(await it.get(path, "domid"))
    await it.until_state(path, "stopped")
    assert it.domids(path) == []
    assert await it.house.xenstore.list("/xenmgr/vms") == []


async def test_keep_alive_starts_it_again_after_every_end(it: Desk) -> None:
    path = await it.create()
    await it.set(path, "keep-alive", "b", True)
    await it.vm(path, "start")
    it.xen().crash(await it.get(path, "domid"))
    await it.until(lambda: it.states_told(path).count("running") == 2)
    await it.set(path, "keep-alive", "b", False)
    await it.vm(path, "destroy")
    assert await it.state(path) == "stopped"


# Starts that fail


async def check_nothing_left(it: Desk, path: str, before: dict[str, str | None]) -> None:
    assert await it.state(path) == "stopped"
    assert await it.get(path, "domid") == -1
    assert it.domids(path) == []
    assert await it.nodes() == before
    assert not await it.has_monitor(path)
    assert {file.name for file in it.files()} == {"zygote"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"memory": "1000000"}, "101:"),
        ({"kernel": "/nonesuch"}, "nonesuch"),
        ({"notify": ""}, "config/notify"),
        ({"memory": "0"}, "config/memory"),
        ({"pci": {"0": {"bdf": "0000:00:1e.0"}}}, refused(203)),
        ({"virt-type": "hvm"}, "not"),
    ],
)
async def test_a_start_that_cannot_work_says_why_and_leaves_nothing(
    it: Desk, config: dict[str, object], expected: str
) -> None:
    path = await it.create(**config)
    before = await it.nodes()
    assert expected in await it.fails(it.vm(path, "start"))
    await check_nothing_left(it, path, before)


@pytest.mark.parametrize("call", ["create_domain", "set_max_memory", "build_pvh", "unpause"])
async def test_a_hypercall_that_fails_leaves_nothing_and_the_next_start_works(it: Desk, call: str) -> None:
    path = await it.create()
    before = await it.nodes()
    it.xen().fail_next(call, errno.ENOMEM)
    assert await it.fails(it.vm(path, "start"))
    await check_nothing_left(it, path, before)
    await it.vm(path, "start")
    assert await it.state(path) == "running"


async def test_a_start_that_fails_keeps_a_monitor_that_was_there(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    await it.vm(path, "destroy")
    monitor = await it.monitor_pid(path)
    it.xen().fail_next("build_pvh", errno.ENOMEM)
    await it.fails(it.vm(path, "start"))
    assert (await it.state(path), await it.monitor_pid(path)) == ("stopped", monitor)


async def test_a_guest_that_dies_at_once_is_stopped(it: Desk) -> None:
    path = await it.create(cmdline="sim.boot=crash sim.boot_s=0")
    await it.vm(path, "start")
    await it.until_state(path, "stopped")
    assert it.domids(path) == []


async def test_a_domain_that_dies_while_it_is_built_fails_the_start(it: Desk) -> None:
    path = await it.create()
    before = await it.nodes()
    hook = script(it.places.storage / "hook", "sleep 30")
    await it.set(path, "run-pre-boot", "s", hook)
    start = asyncio.create_task(it.vm(path, "start"))
    await it.until_state(path, "creating")
    await it.until(lambda: it.has_monitor(path))
    await it.set(path, "run-pre-boot", "s", "/bin/false")
    start.cancel()
    it.house.supervisor.kill("xenmgr")
    await it.until(lambda: it.house.log("xenmgr").count("serving") == 2)
    await it.until_state(path, "stopped")
    assert (await it.fails(it.vm(path, "start"))).endswith("exit status 1")
    assert it.domids(path) == []
    await it.vm(path, "delete")
    assert await it.nodes() == {name: value for name, value in before.items() if it.uuid(path) not in name}


async def test_destroy_breaks_into_a_start(it: Desk) -> None:
    path = await it.create()
    await it.set(path, "boot-sentinel", "s", "booted")
    start = asyncio.create_task(it.vm(path, "start"))
    await it.until_state(path, "running")
    await it.vm(path, "destroy")
    assert await it.state(path) == "stopped"
    start.cancel()


# Hooks


async def test_hooks_run_in_their_places_with_the_uuid(it: Desk) -> None:
    path = await it.create()
    told = it.places.storage / "told"
    for name in ("run-pre-boot", "run-on-state-change", "run-pre-delete"):
        await it.set(path, name, "s", script(it.places.storage / name, f'echo "{name} $@" >> {told}'))
    await it.vm(path, "start")
    await it.vm(path, "destroy")
    uuid = it.uuid(path)
    soft = [f"run-on-state-change {uuid} {state}" for state in ("creating", "running", "stopped")]
    await it.until(lambda: told.read_text().splitlines()[-1] == soft[-1])
    lines = told.read_text().splitlines()
    assert [line for line in lines if line in soft] == soft
    assert [line for line in lines if line not in soft] == [f"run-pre-boot {uuid}"]
    await it.vm(path, "delete")
    assert told.read_text().splitlines()[-1] == f"run-pre-delete {uuid}"


async def test_a_hook_on_a_state_may_ask_for_another(it: Desk) -> None:
    path = await it.create()
    call = f"dbus-send --system --print-reply --dest=com.citrix.xenclient.xenmgr {path} {VM}.start"
    restart = script(it.places.storage / "again", f'[ "$2" != stopped ] || {call}')
    await it.vm(path, "start")
    await it.set(path, "run-on-state-change", "s", restart)
    await it.vm(path, "destroy")
    await it.until_state(path, "running")


async def test_a_hook_in_place_of_the_start_may_start_it(it: Desk) -> None:
    path = await it.create()
    rpc = f"rpc:destination=com.citrix.xenclient.xenmgr,objpath=/,interface={VM},member=start"
    await it.set(path, "run-insteadof-start", "s", rpc)
    assert "UnknownMethod" not in await it.fails(it.vm(path, "start"))
    assert await it.state(path) == "stopped"
    call = f"dbus-send --system --print-reply --dest=com.citrix.xenclient.xenmgr {path} {VM}.start_internal"
    await it.set(path, "run-insteadof-start", "s", script(it.places.storage / "instead", call))
    await it.vm(path, "start")
    assert await it.state(path) == "running"


async def test_a_hard_hook_that_fails_stops_what_it_guards(it: Desk) -> None:
    path = await it.create()
    await it.set(path, "run-pre-delete", "s", "/bin/false")
    assert "/bin/false" in await it.fails(it.vm(path, "delete"))
    assert path in await it.root("list_vms")


async def test_a_creation_hook_that_fails_comes_after_the_vm_was_announced(it: Desk) -> None:
    document = '{"run-post-create": "/nonesuch"}'
    assert "cannot be run" in await it.fails(it.root("create_vm_with_template_and_json", "new-vm", document))
    (path,) = [one for one in await it.root("list_vms") if await it.get(one, "type") == "svm"]
    assert it.count("vm_created", path) == 1
