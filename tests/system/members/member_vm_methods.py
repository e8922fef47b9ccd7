# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the methods of a VM, its disks and its network cards."""

import json
from pathlib import Path
from typing import Any

from member_machine import CARD
from member_methods import SOME_UUID, Stage, fault, faults, works
from member_root_methods import creation_forbidden, runs
from peers import INPUT, peer

from openxt_api import input_daemon
from openxt_api.vm_disk import VMDISK
from openxt_api.vm_nic import VMNIC
from openxt_api.xenmgr_v4v import XENMGR_VM_V4V
from openxt_api.xenmgr_vm import XENMGR_VM, XENMGR_VM_AUTH, XENMGR_VM_PCI, XENMGR_VM_PRODUCT
from openxt_api.xenmgr_vm_devices import XENMGR_VM_DEVICES
from openxt_api.xenmgr_vm_why import XENMGR_VM_WHY

NDVM_UUID = "00000000-0000-0000-0000-000000000002"
NAMES_OF_DISKS = 29  # hda, hdb, hdd, xvda to xvdz


async def edits_forbidden(s: Stage) -> None:
    await s.it.db("write", f"/vm/{s.uuid}/policies/modify-vm-settings", "false")


async def on_vm(s: Stage, member: str, *texts: str) -> Any:
    """A method of the VM beside the one that is tried."""
    return await s.it.vm(s.vm, member, *texts)


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


def with_property(name: str, value: str) -> Any:
    async def given(s: Stage) -> None:
        await s.it.set(s.vm, name, "s", value)

    return given


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


# Life


@works(XENMGR_VM, "start", "start_internal")
async def _start(s: Stage) -> None:
    if s.method.name == "start_internal":  # it goes past the hook
        await s.it.set(s.vm, "run-insteadof-start", "s", "/bin/false")
    await s.call()
    assert await s.it.state(s.vm) == "running"
    assert s.it.domids(s.vm) == [await s.it.get(s.vm, "domid")]


@works(XENMGR_VM, "reboot")
async def _reboot(s: Stage) -> None:
    first = await s.start()
    await s.it.listens(s.vm)
    await s.call()
    await s.it.until(lambda: s.it.states_told(s.vm).count("running") == 2)
    assert s.it.domids(s.vm) != [first]


@works(XENMGR_VM, "shutdown", "destroy")
async def _end(s: Stage) -> None:
    await s.call()  # nothing happens without a monitor
    await s.start()
    await s.it.listens(s.vm)
    await s.call()
    assert (await s.it.state(s.vm), s.it.domids(s.vm)) == ("stopped", [])


async def with_addons(s: Stage) -> None:
    await s.it.set(s.vm, "pv-addons", "b", True)
    await s.start()
    await s.it.listens(s.vm)


@works(XENMGR_VM, "sleep", "resume")
async def _sleep(s: Stage) -> None:
    await with_addons(s)
    for member in ("sleep", "resume"):
        await on_vm(s, member)
    assert await s.it.state(s.vm) == "running"


@works(XENMGR_VM, "hibernate")
async def _hibernate(s: Stage) -> None:
    await s.call()  # nothing happens to one that does not run
    await with_addons(s)
    await s.call()
    assert (await s.it.state(s.vm), await s.it.get(s.vm, "acpi-state")) == ("stopped", 4)
    assert await s.it.db("read", f"/vm/{s.uuid}/hibernated") == "true"


@works(XENMGR_VM, "pause", "unpause")
async def _pause(s: Stage) -> None:
    await s.start()
    await on_vm(s, "pause")
    assert await s.it.state(s.vm) == "paused"
    await on_vm(s, "unpause")
    assert await s.it.state(s.vm) == "running"


@works(XENMGR_VM, "suspend_to_file", "resume_from_file")
async def _suspend(s: Stage) -> None:
    file = s.it.places.storage / "saved"
    await s.start()
    await s.it.listens(s.vm)
    await on_vm(s, "suspend_to_file", str(file))
    assert (s.it.domids(s.vm), file.exists()) == ([], True)
    await on_vm(s, "resume_from_file", str(file))
    assert await s.it.state(s.vm) == "running"


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


async def no_kernel(s: Stage) -> None:
    await s.it.set(s.vm, "kernel", "s", "/nonesuch")


async def too_much_memory(s: Stage) -> None:
    await s.it.set(s.vm, "memory", "i", 1 << 20)


async def absent_device(s: Stage) -> None:
    await s.it.call(s.vm, XENMGR_VM_PCI.name, "add_pt_rule_bdf", "s", "0000:00:1f.7")


async def backend_down(s: Stage) -> None:
    nic = await on_vm(s, "add_nic")
    await s.it.set(nic, "backend-uuid", "s", NDVM_UUID, VMNIC.name)
    await s.it.set(s.vm, "track-dependencies", "b", False)


async def no_agent_answers(s: Stage) -> None:
    """The guest has what it needs, and does not obey."""
    await s.it.set(s.vm, "cmd-line", "s", "sim.suspend=hang sim.shutdown=hang")
    await with_addons(s)


START_FAULTS = (
    fault("cannot be run", given=with_property("run-pre-boot", "/nonesuch")),
    fault("/bin/false", given=with_property("run-pre-boot", "/bin/false")),
    fault("/nonesuch", given=no_kernel),
    fault("101:", given=too_much_memory),
    fault("203:", given=absent_device),
    fault("232:", given=backend_down),
    fault("config/notify", given=with_property("notify", "")),
)

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
    start=(*START_FAULTS, fault("/bin/false", given=with_property("run-insteadof-start", "/bin/false"))),
    start_internal=START_FAULTS,
    reboot=(fault("102:"),),
    shutdown=(),
    destroy=(),
    sleep=(fault("102:"), fault("213:", given=runs)),
    hibernate=(fault("213:", given=runs),),
    resume=(),
    pause=(fault("102:"),),
    unpause=(fault("102:"),),
    suspend_to_file=(
        fault("102:", "/storage/saved"),
        fault("not the path of a file", "saved", given=runs),
    ),
    resume_from_file=(
        fault("nonesuch", "/nonesuch"),
        fault("not the path of a file", "saved"),
        fault("102:", "/storage/saved", given=runs),
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


# Disks


async def with_image(s: Stage) -> Path:
    image = s.it.places.storage / "disks/some.vhd"
    image.write_bytes(bytes(64))
    await s.it.call(s.path, VMDISK.name, "attach_vhd", "s", str(image))
    return image


@works(VMDISK, "attach_vhd", "attach_phy")
async def _attach(s: Stage) -> None:
    kind = s.method.name.removeprefix("attach_")
    await s.call("/dev/sdz")
    names = ("phys-path", "phys-type", "mode", "devtype")
    found = [await s.it.get(s.path, name, VMDISK.name) for name in names]
    assert found == ["/dev/sdz", kind, "w", "disk"]


@works(VMDISK, "mount", "umount")
async def _mount(s: Stage) -> None:
    image, at = await with_image(s), s.file("/mnt")
    node = f"/xenmgr/mount/{s.uuid}/{s.path.rpartition('/')[2]}"
    await s.it.call(s.path, VMDISK.name, "mount", "sb", "/mnt", True)
    assert await s.it.house.xenstore.read(f"{node}/dev") == "/dev/tap7"
    await s.it.call(s.path, VMDISK.name, "umount")
    assert await s.it.house.xenstore.read(f"{node}/dev") is None
    assert s.asked() == [
        f"tap-ctl create -R -a vhd:{image}",
        f"mount -o ro /dev/tap7 {at}",
        f"umount {at}",
        "tap-ctl destroy -d /dev/tap7",
    ]


@works(VMDISK, "delete")
async def _delete_disk(s: Stage) -> None:
    image = await with_image(s)
    await s.call()
    assert not image.exists()
    assert s.path not in await on_vm(s, "list_disks")
    assert "UnknownObject" in await s.it.name_of_error(s.it.get(s.path, "mode", VMDISK.name))


@works(VMDISK, "generate_crypto_key", "generate_crypto_key_in")
async def _key(s: Stage) -> None:
    image = await with_image(s)
    if s.method.name == "generate_crypto_key":
        await s.call(512)
        folder = s.file("/config/platform-crypto-keys")
    else:
        await s.call(512, "/keys")
        folder = s.file("/keys")
    key = folder / "some,aes-xts-plain,512.key"
    assert (key.stat().st_size, key.stat().st_mode & 0o777) == (64, 0o600)
    assert f"vhd-util key -n {image} -k {key} -s" in s.asked()
    key.unlink()


async def image_there(s: Stage) -> None:
    await with_image(s)


async def entry_gone(s: Stage) -> None:
    await s.it.db("rm", f"/vm/{s.uuid}/config/disk/{s.path.rpartition('/')[2]}")
    await s.it.db("rm", f"/vm/{s.uuid}/config/nic/{s.path.rpartition('/')[2]}")


async def no_vhd(s: Stage) -> None:
    await s.it.call(s.path, VMDISK.name, "attach_phy", "s", "/dev/null")


async def mounted(s: Stage) -> None:
    await with_image(s)
    await s.it.call(s.path, VMDISK.name, "mount", "sb", "/mnt", True)


async def image_and_broken_programs(s: Stage) -> None:
    await with_image(s)
    s.break_programs()


async def key_there(s: Stage) -> None:
    await with_image(s)
    s.file("/keys/some,aes-xts-plain,256.key").touch()


async def keyed(s: Stage) -> None:
    await with_image(s)
    (s.it.stand_ins / "keyed").touch()


KEY_FAULTS = (("206:", entry_gone, 256), ("207:", no_vhd, 256), ("keysize cannot be 128", image_there, 128))

faults(
    VMDISK,
    attach_vhd=(
        fault("not a path for a disk", "/a:b"),
        fault("not a path for a disk", ""),
        fault("206:", "/a", given=entry_gone),
    ),
    attach_phy=(fault("not a path for a disk", "/a\nb"), fault("206:", "/a", given=entry_gone)),
    mount=(
        fault("206:", "/mnt", True, given=entry_gone),
        fault("207:", "/mnt", True, given=no_vhd),
        fault("dirpath cannot be 'mnt'", "mnt", True, given=image_there),
        fault("mounted already", "/mnt", True, given=mounted),
        fault("223:IO error", "/mnt", True, given=image_and_broken_programs),
    ),
    umount=(
        fault("206:", given=entry_gone),
        fault("207:", given=no_vhd),
        fault("is not mounted", given=image_there),
    ),
    delete=(fault("206:", given=entry_gone),),
    generate_crypto_key=(
        *(fault(text, size, given=given) for text, given, size in KEY_FAULTS),
        fault("239:", 256, given=keyed),
    ),
    generate_crypto_key_in=(
        *(fault(text, size, "/keys", given=given) for text, given, size in KEY_FAULTS),
        fault("dirpath cannot be 'keys'", 256, "keys"),
        fault("is no folder for keys", 256, "/nonesuch", given=image_there),
        fault("238:", 256, "/keys", given=key_there),
        fault("239:", 256, "/keys", given=keyed),
    ),
)


# Network cards


@works(VMNIC, "delete")
async def _delete_nic(s: Stage) -> None:
    await s.call()
    assert s.path not in await on_vm(s, "list_nics")
    assert not await s.it.db("exists", f"/vm/{s.uuid}/config/nic/{s.path.rpartition('/')[2]}")


faults(VMNIC, delete=(fault("222:", given=entry_gone),))
