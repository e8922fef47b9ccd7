# SPDX-License-Identifier: GPL-2.0-or-later
"""Service VMs that belong to another VM, and the names of running service VMs in dom0."""

import json
from collections.abc import AsyncIterator

import pytest
from xenmgr_house import XENMGR, Desk, desk


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


async def test_a_child_is_made_of_its_template_which_changes_the_parent(it: Desk) -> None:
    override = {"extra": {"child": "${UUID} of ${PARENT_UUID}"}, "description": "has a child"}
    child = {"name": "helper", "type": "svc", "parent-override": override}
    (it.places.templates / "default/child-helper").write_text(json.dumps(child))
    parent = await it.create()
    assert await it.root("list_child_service_vm_templates") == ["helper"]
    path = await it.vm(parent, "create_child_service_vm", "helper")
    assert (await it.get(path, "name"), await it.get(path, "slot")) == ("helper", 0)
    assert await it.get(parent, "description") == "has a child"
    assert (
        await it.db("read", f"/vm/{it.uuid(parent)}/extra/child") == f"{it.uuid(path)} of {it.uuid(parent)}"
    )
    assert not await it.db("exists", f"/vm/{it.uuid(path)}/parent-override")
    await it.until_told("vm_created", path)


async def test_a_child_without_template_or_against_policy_is_refused(it: Desk) -> None:
    parent = await it.create()
    before = await it.root("list_vms")
    assert (await it.fails(it.vm(parent, "create_child_service_vm", "nonesuch"))).startswith("223:")
    assert "no template" in await it.fails(it.vm(parent, "create_child_service_vm", ""))
    await it.set("/", "vm-creation-allowed", "b", False, f"{XENMGR}.config")
    assert (await it.fails(it.vm(parent, "create_child_service_vm", "x"))).startswith("220:")
    assert await it.root("list_vms") == before


async def test_a_running_service_vm_is_found_by_its_name(it: Desk) -> None:
    user, service = await it.create(), await it.create()
    await it.set(service, "type", "s", "ndvm")
    await it.set(service, "name", "s", "my router")
    for path in (user, service):
        await it.vm(path, "start")
    hosts = it.places.at("/etc/hosts")
    assert hosts.read_text() == f"127.0.0.1 localhost\n1.0.0.{await it.get(service, 'domid')} my-router\n"
    await it.vm(service, "shutdown")
    assert hosts.read_text() == "127.0.0.1 localhost\n"
