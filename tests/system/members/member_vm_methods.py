# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the methods of a VM that do not concern its life: keys, disks and cards, rules."""

import json

from member_givens import creation_forbidden, edits_forbidden, on_vm, runs, with_property
from member_methods import Stage, fault, faults, works
from peers import INPUT, peer

from openxt_api import input_daemon
from openxt_api.vm_disk import VMDISK
from openxt_api.xenmgr_vm import XENMGR_VM

NAMES_OF_DISKS = 29  # hda, hdb, hdd, xvda to xvdz


# Keys


@works(XENMGR_VM, "get_db_key", "set_db_key")
async def _db_keys(s: Stage) -> None:
    assert await on_vm(s, "get_db_key", "config.nonesuch") == ""
    await on_vm(s, "set_db_key", "config.cmdline", "quiet")
    assert await on_vm(s, "get_db_key", "config/cmdline") == "quiet"
    assert await s.it.db("read", f"/vm/{s.uuid}/config/cmdline") == "quiet"


@works(XENMGR_VM, "get_domstore_key", "set_domstore_key")
async def _domstore_keys(s: Stage) -> None:
    assert await on_vm(s, "get_domstore_key", "a.b") == ""
    await on_vm(s, "set_domstore_key", "a.b", "c")
    assert await on_vm(s, "get_domstore_key", "a.b") == "c"
    assert await s.it.db("read", f"/dom-store/{s.uuid}/a/b") == "c"


# Disks and cards


@works(XENMGR_VM, "add_disk", "list_disks")
async def _disks(s: Stage) -> None:
    before = await on_vm(s, "list_disks")
    path = await on_vm(s, "add_disk")
    assert await on_vm(s, "list_disks") == [*before, path]
    stored = json.loads(await s.it.db("dump", f"/vm/{s.uuid}/config/disk/{path.rpartition('/')[2]}"))
    expected = {"path": "", "type": "vhd", "mode": "w", "device": "hda", "devtype": "disk", "shared": "false"}
    assert stored == expected
    assert await s.it.get(path, "virt-path", VMDISK.name) == "hda"


@works(XENMGR_VM, "add_nic", "list_nics")
async def _nics(s: Stage) -> None:
    before = await on_vm(s, "list_nics")
    path = await on_vm(s, "add_nic")
    assert await on_vm(s, "list_nics") == [*before, path]
    id = path.rpartition("/")[2]
    stored = json.loads(await s.it.db("dump", f"/vm/{s.uuid}/config/nic/{id}"))
    assert stored == {"id": id, "network": "/wired/0/bridged"}


async def names_used_up(s: Stage) -> None:
    for _ in range(NAMES_OF_DISKS):
        await on_vm(s, "add_disk")


@works(XENMGR_VM, "delete")
async def _delete(s: Stage) -> None:
    image = s.it.places.storage / "disks/own.vhd"
    image.touch()
    disk = await on_vm(s, "add_disk")
    await s.it.call(disk, VMDISK.name, "attach_vhd", "s", str(image))
    await s.call()
    await s.it.until_told("vm_deleted", s.vm)
    assert not await s.it.db("exists", f"/vm/{s.uuid}")
    assert not image.exists()
    assert "UnknownObject" in await s.it.name_of_error(s.it.state(s.vm))


async def deletion_forbidden(s: Stage) -> None:
    await s.it.db("write", "/vm-delete-disallowed", "true")


@works(XENMGR_VM, "switch")
async def _switch(s: Stage) -> None:
    await s.call()  # nothing happens to one that does not run
    domid = await s.start()
    await s.it.house.xenstore.write(f"/local/domain/{domid}/switcher/ready", "true")
    async with peer(s.it.house.layout.bus_address, INPUT, {"/": (input_daemon.INPUT,)}) as there:
        await s.it.until_there(INPUT)
        await s.call()
        assert there.asked() == [("switch_focus", domid, False)]


@works(XENMGR_VM, "read_icon")
async def _icon(s: Stage) -> None:
    await s.it.set(s.vm, "image-path", "s", "a.png")
    assert bytes(await s.call()) == b"png"


@works(XENMGR_VM, "create_child_service_vm")
async def _child(s: Stage) -> None:
    template = s.it.places.templates / "default/child-helper"
    override = {"description": "has ${UUID}"}
    template.write_text(json.dumps({"name": "helper", "type": "svc", "parent-override": override}))
    path = await s.call("helper")
    template.unlink()
    await s.it.until_told("vm_created", path)
    assert await s.it.get(path, "type") == "svc"
    assert await s.it.get(s.vm, "description") == f"has {s.it.uuid(path)}"


# Rules


@works(XENMGR_VM, "add_v4v_firewall_rule", "delete_v4v_firewall_rule", "list_v4v_firewall_rules")
async def _v4v_rules(s: Stage) -> None:
    stored = await on_vm(s, "list_v4v_firewall_rules")
    for _ in range(2):  # the second time it is there already
        await on_vm(s, "add_v4v_firewall_rule", "myself->0:4321")
    assert await on_vm(s, "list_v4v_firewall_rules") == [*stored, "myself -> 0:4321"]
    await on_vm(s, "delete_v4v_firewall_rule", "myself  -> 0:4321")
    assert await on_vm(s, "list_v4v_firewall_rules") == stored


@works(XENMGR_VM, "add_net_firewall_rule", "delete_net_firewall_rule", "list_net_firewall_rules")
async def _net_rules(s: Stage) -> None:
    await s.it.call(s.vm, XENMGR_VM.name, "add_net_firewall_rule", "isss", 4, "in", "10.0.0.1", "tcp")
    rule = {"id": "4", "direction": "in", "remote-ip": "10.0.0.1", "extra": "tcp"}
    assert await on_vm(s, "list_net_firewall_rules") == [rule]
    assert await s.it.db("read", f"/vm/{s.uuid}/firewall-rule/4/remote-ip") == "10.0.0.1"
    await s.it.call(s.vm, XENMGR_VM.name, "delete_net_firewall_rule", "i", 4)
    assert await on_vm(s, "list_net_firewall_rules") == []


faults(
    XENMGR_VM,
    get_db_key=(),
    set_db_key=(fault("the key is empty", "", "x"), fault("the key is empty", ".", "x")),
    get_domstore_key=(),
    set_domstore_key=(fault("the key is empty", "", "x"),),
    add_disk=(fault("no device name is free", given=names_used_up),),
    list_disks=(),
    add_nic=(),
    list_nics=(),
    delete=(
        fault("220:", given=deletion_forbidden),
        fault("204:", given=runs),
        fault("/bin/false", given=with_property("run-pre-delete", "/bin/false")),
    ),
    switch=(),
    read_icon=(
        fault("223:IO error", given=with_property("image-path", "b.png")),
        fault("not the path of an icon", given=with_property("image-path", "../../../etc/passwd")),
        fault("not the path of an icon", given=with_property("image-path", "")),
    ),
    create_child_service_vm=(
        fault("220:", "helper", given=creation_forbidden),
        fault("223:IO error", "nonesuch"),
        fault("no template is named", ""),
    ),
    list_v4v_firewall_rules=(),
    add_v4v_firewall_rule=(fault("237:", "nonsense"), fault("237:", "")),
    delete_v4v_firewall_rule=(fault("237:", "nonsense"),),
    add_net_firewall_rule=(
        fault("direction cannot be 'up'", 1, "up", "10.0.0.1", ""),
        fault("id cannot be -1", -1, "in", "10.0.0.1", ""),
        fault("202:", 1, "in", "10.0.0.1", "", given=edits_forbidden),
    ),
    list_net_firewall_rules=(),
    delete_net_firewall_rule=(fault("202:", 1, given=edits_forbidden),),
)
