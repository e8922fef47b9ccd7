# SPDX-License-Identifier: GPL-2.0-or-later
"""xenmgr's settings of the host, its templates, and what only a host of one's own can show."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator

import pytest
from xenmgr_house import UNRESTRICTED, XENMGR, Desk, desk, refused

from openxt_api.xenmgr import XENMGR_CONFIG, XENMGR_CONFIG_UI
from openxt_api.xenmgr_host import XENMGR_HOST, XENMGR_INSTALLER, XENMGR_POWERSETTINGS
from openxt_core.errors import RemoteError
from openxt_core.ids import DBD_NAME

NDVM = "/vm/00000000_0000_0000_0000_000000000002"
UIVM = "/vm/00000000_0000_0000_0000_000000000001"


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


async def test_the_overwrite_switches_keep_what_the_user_changed(it: Desk) -> None:
    await it.set(NDVM, "description", "s", "mine", UNRESTRICTED)
    await it.set(UIVM, "description", "s", "mine", UNRESTRICTED)
    await it.db("write", "/overwrite-ndvm-settings", "false")
    it.house.supervisor.kill("xenmgr")
    await it.until(lambda: it.house.log("xenmgr").count("serving") == 2)
    assert (await it.get(NDVM, "description"), await it.get(UIVM, "description")) == ("mine", "")


async def test_a_broken_template_is_set_aside_and_the_others_work(it: Desk) -> None:
    folder = it.places.templates / "default"
    (folder / "service-bad").write_text("{")
    (folder / "bad").write_text("[]")
    it.house.supervisor.kill("xenmgr")
    await it.until(lambda: it.house.log("xenmgr").count("serving") == 2)
    assert "service-bad is set aside" in it.house.log("xenmgr")
    assert "bad" in await it.root("list_templates")
    assert "JSON object" in await it.fails(it.root("create_vm_with_template", "bad"))
    assert await it.root("create_vm") in await it.root("list_vms")


async def test_files_that_hold_no_vm_are_set_aside_and_the_others_work(it: Desk) -> None:
    contents = ("", "5", "[]", '"x"', "null")
    uuids = [f"12345678-1234-1234-1234-00000000000{number}" for number in range(len(contents))]
    await it.call("/", f"{XENMGR}.unrestricted", "unrestricted_create_vm")
    await it.house.bus.call(DBD_NAME, "/", f"{DBD_NAME}.admin", "sync")
    for uuid, content in zip(uuids, contents, strict=True):
        it.places.at(f"/config/vms/{uuid}.db").write_text(content)
    it.house.supervisor.kill("dbd")
    await it.restart()
    assert {UIVM, NDVM} < set(await it.root("list_vms"))
    assert not {f"/vm/{uuid.replace('-', '_')}" for uuid in uuids} & set(await it.root("list_vms"))
    objects = await it.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    assert {UIVM, NDVM} < set(objects)
    assert "is set aside: what is stored there is no VM" in it.house.log("xenmgr")


async def test_policy_forbids_creating_and_deleting_but_not_unrestricted(it: Desk) -> None:
    path = await it.root("create_vm")
    await it.set("/", "vm-creation-allowed", "b", False, XENMGR_CONFIG.name)
    await it.set("/", "vm-deletion-allowed", "b", False, XENMGR_CONFIG.name)
    assert (await it.fails(it.root("create_vm"))).startswith(refused(220))
    assert (await it.fails(it.vm(path, "delete"))).startswith(refused(220))
    other = await it.call("/", f"{XENMGR}.unrestricted", "unrestricted_create_vm")
    for doomed in (path, other):
        await it.call("/", f"{XENMGR}.unrestricted", "unrestricted_delete_vm", "s", it.uuid(doomed))
    assert sorted(await it.root("list_vms")) == [UIVM, NDVM]


async def test_settings_of_the_host_and_its_interface(it: Desk) -> None:
    config = await it.get_all("/", XENMGR_CONFIG)
    interface = await it.get_all("/", XENMGR_CONFIG_UI)
    assert set(config) == set(XENMGR_CONFIG.property)
    assert set(interface) == set(XENMGR_CONFIG_UI.property)
    assert (config["iso-path"], config["measure-fail-action"]) == ("/storage/isos", "forced-shutdown")
    await it.set("/", "measure-fail-action", "s", "nothing", XENMGR_CONFIG.name)
    await it.set("/", "pointer-trail-timeout", "i", 1500, XENMGR_CONFIG_UI.name)
    assert await it.db("read", "/xenmgr/pointerTrailTimeout") == "1.5"
    assert await it.get("/", "pointer-trail-timeout", XENMGR_CONFIG_UI.name) == 1500
    await it.until(lambda: any(name == "config_changed" for name, _ in it.signals))
    text = await it.fails(it.set("/", "language", "s", "tlh", XENMGR_CONFIG_UI.name))
    assert text.startswith(refused(236))
    text = await it.fails(it.set("/", "measure-fail-action", "s", "cry", XENMGR_CONFIG.name))
    assert "forced-shutdown" in text


async def test_the_host_answers_on_a_machine_that_lacks_the_files(it: Desk) -> None:
    host = await it.get_all("/host", XENMGR_HOST)
    assert set(host) == set(XENMGR_HOST.property)
    assert (host["state"], host["ui-ready"], host["is-licensed"]) == ("idle", False, True)
    assert host["total-mem"] >= host["free-mem"] > 0
    assert host["build-info"]["edition"] == "default"
    installer = await it.call("/host", XENMGR_INSTALLER.name, "get_installstate")
    assert set(installer.values()) == {"False"}
    await it.call("/host", XENMGR_POWERSETTINGS.name, "set_ac_lid_close_action", "s", "sleep")
    assert await it.call("/host", XENMGR_POWERSETTINGS.name, "get_ac_lid_close_action") == "sleep"
    assert await it.call("/host", XENMGR_HOST.name, "is_service_running", "s", XENMGR) is True


async def test_deleting_leaves_no_trace(it: Desk) -> None:
    nodes, files, tree = await it.nodes(), it.files(), await it.db("dump", "/")
    path = await it.root("create_vm")
    await it.vm(path, "set_domstore_key", "a.b", "secret")
    await it.vm(path, "delete")
    await it.until_told("vm_deleted", path)
    with pytest.raises(RemoteError) as gone:
        await it.state(path)
    assert gone.value.name.endswith("UnknownObject")
    after = json.loads(await it.db("dump", "/"))
    assert {name: value for name, value in after.items() if value} == json.loads(tree)
    assert (await it.nodes(), it.files()) == (nodes, files)


async def test_a_database_daemon_that_answers_late_is_waited_for(it: Desk) -> None:
    path = await it.root("create_vm")
    dbd = it.house.supervisor.supervised["dbd"]
    assert dbd.pid is not None
    os.kill(dbd.pid, signal.SIGSTOP)
    late = asyncio.create_task(it.get(path, "slot"))
    await asyncio.sleep(0.2)  # the question is on its way
    os.kill(dbd.pid, signal.SIGCONT)
    assert await late == 1
