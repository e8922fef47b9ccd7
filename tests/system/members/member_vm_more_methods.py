# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of a VM's further interfaces: …vm.product, …vm.auth, …vm.pci, and our own."""

import json
from typing import Any

from member_givens import absent_device, edits_forbidden, on_vm
from member_life_methods import NDVM_UUID
from member_machine import CARD
from member_methods import SOME_UUID, Stage, fault, faults, works
from peers import INPUT, peer

from openxt_api import input_daemon
from openxt_api.xenmgr_v4v import XENMGR_VM_V4V
from openxt_api.xenmgr_vm import XENMGR_VM_AUTH, XENMGR_VM_PCI, XENMGR_VM_PRODUCT
from openxt_api.xenmgr_vm_devices import XENMGR_VM_DEVICES
from openxt_api.xenmgr_vm_why import XENMGR_VM_WHY

# …vm.product, …vm.auth, …vm.pci


@works(XENMGR_VM_PRODUCT, "list_product_properties", "get_product_property", "set_product_property")
async def _product(s: Stage) -> None:
    async def ask(member: str, *texts: str) -> Any:
        return await s.it.call(s.vm, XENMGR_VM_PRODUCT.name, member, "s" * len(texts), *texts)

    await with_product(s)
    (entry,) = await ask("list_product_properties")
    assert (entry["id"], entry["type"], entry["user-configurable"]) == ("c.k", "uint8", "true")
    await ask("set_product_property", "c.k", "255")
    assert await ask("get_product_property", "c.k") == "255"
    assert await ask("get_product_property", "nonesuch") == ""


async def with_product(s: Stage) -> None:
    fields = {"key": "k", "class": "c", "type": "uint8", "value": "1", "userconfigurable": "true"}
    await s.it.db("inject", f"/vm/{s.uuid}/productproperty/c.k", json.dumps(fields))


@works(XENMGR_VM_PRODUCT, "get_ovf_env_xml")
async def _environment(s: Stage) -> None:
    await with_product(s)
    await s.it.db("write", f"/appliance/a/vm/{s.uuid}/id", "system")
    assert "<Environment" in await s.call()


faults(
    XENMGR_VM_PRODUCT,
    get_ovf_env_xml=(fault("does not belong to any appliance"),),
    list_product_properties=(),
    get_product_property=(fault("not the id", "a/b"), fault("not the id", "")),
    set_product_property=(
        fault("no product property", "nonesuch", "1"),
        fault("not the id", "a/b", "1"),
        fault("not a value of type uint8", "c.k", "256", given=with_product),
    ),
)


@works(XENMGR_VM_AUTH, "auth_required", "auth")
async def _auth(s: Stage) -> None:
    async def ask(member: str) -> Any:
        return await s.it.call(s.vm, XENMGR_VM_AUTH.name, member)

    async with peer(s.it.house.layout.bus_address, INPUT, {"/": (input_daemon.INPUT,)}) as there:
        await s.it.until_there(INPUT)
        assert await ask("auth_required") is False
        await ask("auth")
        assert there.asked() == []
        await s.it.set(s.vm, "crypto-user", "s", "0a1b")
        assert await ask("auth_required") is True
        assert await s.it.state(s.vm) == "locked"
        await ask("auth")
        assert there.asked() == [("auth_set_context_flags", "0a1b", "", 0x880000)]


faults(XENMGR_VM_AUTH, auth_required=(), auth=())


@works(
    XENMGR_VM_PCI,
    "add_pt_rule",
    "add_pt_rule_bdf",
    "delete_pt_rule",
    "delete_pt_rule_bdf",
    "list_pt_rules",
    "list_pt_pci_devices",
)
async def _pci(s: Stage) -> None:
    async def ask(member: str, *texts: str) -> Any:
        return await s.it.call(s.vm, XENMGR_VM_PCI.name, member, "s" * len(texts), *texts)

    await ask("add_pt_rule", "0x0200", "any", "")
    await ask("add_pt_rule_bdf", "0000:00:02.0@5")
    assert await ask("list_pt_rules") == [
        {"id": "1", "rule": "match class=0x0200 vendor= device="},
        {"id": "2", "rule": "bdf=0000:00:02.0 @ 5"},
    ]
    devices = await ask("list_pt_pci_devices")
    assert [one["addr"] for one in devices] == ["0000:00:02.0", CARD]
    assert devices[1]["vendor-id"] == "0x8086"
    await ask("delete_pt_rule", "512", "any", "any")
    await ask("delete_pt_rule_bdf", "0000:00:02.0@5")
    assert await ask("list_pt_rules") == []


faults(
    XENMGR_VM_PCI,
    add_pt_rule=(
        fault("PCI class 'x'", "x", "any", "any"),
        fault("PCI vendor '65536'", "any", "65536", "any"),
        fault("would match every device", "any", "", "any"),
        fault("202:", "0x0200", "any", "any", given=edits_forbidden),
    ),
    add_pt_rule_bdf=(
        fault("not a PCI address", "00:02.0"),
        fault("202:", "0000:00:02.0", given=edits_forbidden),
    ),
    delete_pt_rule=(
        fault("PCI device '-1'", "any", "any", "-1"),
        fault("202:", "0x0200", "any", "any", given=edits_forbidden),
    ),
    delete_pt_rule_bdf=(
        fault("not a PCI address", ""),
        fault("202:", "0000:00:02.0", given=edits_forbidden),
    ),
    list_pt_rules=(),
    list_pt_pci_devices=(),
)


# Our own: …vm.why, …vm.devices, …vm.v4v


@works(XENMGR_VM_V4V, "dry_run")
async def _dry_run(s: Stage) -> None:
    await on_vm(s, "add_v4v_firewall_rule", "myself -> 0:4321")
    lines = await s.call()
    assert "--dom-in MYSELF --dom-out 0 --port-out 4321" in "".join(command for _, _, command in lines)


faults(XENMGR_VM_V4V, dry_run=())


@works(XENMGR_VM_WHY, "why_not_start")
async def _why(s: Stage) -> None:
    assert await s.call() == []
    await absent_device(s)
    (reason,) = await s.call()
    assert reason.startswith("203:")


@works(XENMGR_VM_WHY, "changed_since_start")
async def _changed(s: Stage) -> None:
    await s.start()
    assert await s.call() == []
    await s.it.set(s.vm, "memory", "i", 80)
    assert [list(one) for one in await s.call()] == [["config/memory", '"64"', '"80"']]


@works(XENMGR_VM_WHY, "stop_order", "add_needed", "remove_needed", "list_needed", "list_dependencies")
async def _needed(s: Stage) -> None:
    async def ask(path: str, member: str, *texts: str) -> Any:
        return await s.it.call(path, XENMGR_VM_WHY.name, member, "s" * len(texts), *texts)

    user = await s.it.create()
    await ask(user, "add_needed", s.uuid)
    assert await ask(user, "list_needed") == [s.uuid]
    assert await ask(user, "list_dependencies") == [s.vm]
    await s.it.vm(user, "start")
    assert await ask(s.vm, "stop_order") == [user, s.vm]
    await ask(user, "remove_needed", s.uuid)
    assert await ask(user, "list_needed") == []


async def other_needs_it(s: Stage) -> None:
    await s.make_other()
    await s.it.call(s.other, XENMGR_VM_WHY.name, "add_needed", "s", s.uuid)


async def they_need_one_another(s: Stage) -> None:
    await other_needs_it(s)
    await s.it.db("write", f"/vm/{s.uuid}/dependencies/0", s.other_uuid)


faults(
    XENMGR_VM_WHY,
    list_dependencies=(fault(" -> ", given=they_need_one_another),),
    why_not_start=(),
    changed_since_start=(fault("never started"),),
    stop_order=(),
    list_needed=(),
    add_needed=(
        fault("there is no VM", SOME_UUID),
        fault("not a uuid", "x"),
        fault(" -> ", lambda s: s.uuid),
        fault(" -> ", lambda s: s.other_uuid, given=other_needs_it),
        fault("202:", NDVM_UUID, given=edits_forbidden),
    ),
    remove_needed=(fault("not a uuid", "x"), fault("202:", NDVM_UUID, given=edits_forbidden)),
)


@works(XENMGR_VM_DEVICES, "changed_devices", "confirm_devices")
async def _drift(s: Stage) -> None:
    async def ask(member: str, *body: Any) -> Any:
        return await s.it.call(s.vm, XENMGR_VM_DEVICES.name, member, "as" if body else "", *body)

    await drifted(s)
    (device,) = await ask("changed_devices")
    assert (device["addr"], device["rule"]) == (CARD, "match class=0x0200 vendor= device=")
    await ask("confirm_devices", [CARD])
    assert await ask("changed_devices") == []


async def drifted(s: Stage) -> None:
    """At its last start the rule meant another device."""
    await s.it.call(s.vm, XENMGR_VM_PCI.name, "add_pt_rule", "sss", "0x0200", "any", "any")
    seen = {"match class=0x0200 vendor= device=": ["0000:00:19.0 0200 8086:ffff"]}
    await s.it.db("write", f"/xenmgr/pci-seen/{s.uuid}", json.dumps(seen))


faults(
    XENMGR_VM_DEVICES,
    changed_devices=(),
    confirm_devices=(
        fault("wait for a confirmation: none", [CARD]),
        fault(f"wait for a confirmation: {CARD}", [], given=drifted),
        fault("202:", [CARD], given=edits_forbidden),
    ),
)
