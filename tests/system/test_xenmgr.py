# SPDX-License-Identifier: GPL-2.0-or-later
"""xenmgr's objects on a real bus with a real dbd: creation, properties, lists, rules, signals, errors."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from xenmgr_house import PROPERTIES, UNRESTRICTED, VM, XENMGR, Desk, desk, refused

from openxt_api.vm_disk import VMDISK
from openxt_api.vm_nic import VMNIC
from openxt_api.xenmgr_vm import XENMGR_VM, XENMGR_VM_PCI, XENMGR_VM_UNRESTRICTED
from openxt_core.errors import RemoteError
from openxt_core.ids import DOM0_UUID
from openxt_xenmgr.properties.vm import UNRESTRICTED_ONLY

NDVM = "/vm/00000000_0000_0000_0000_000000000002"
UIVM = "/vm/00000000_0000_0000_0000_000000000001"
SOME_UUID = "12345678-1234-1234-1234-123456789abc"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room() -> AsyncIterator[Desk]:
    """One host for all tests of this file that leave it as they found it."""
    async with desk() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def it(room: Desk) -> AsyncIterator[Desk]:
    room.signals.clear()
    yield room
    for path in await room.root("list_vms"):
        if path not in (UIVM, NDVM):
            uuid = room.uuid(path)
            await room.call("/", f"{XENMGR}.unrestricted", "unrestricted_delete_vm", "s", uuid)


# VMs


async def test_service_vms_are_there_and_ordered_as_in_the_database(it: Desk) -> None:
    assert sorted(await it.root("list_vms")) == [UIVM, NDVM]
    assert await it.get(NDVM, "type") == "ndvm"
    assert await it.root("list_domids") == []


async def test_creating_gives_slot_name_and_seamless_id(it: Desk) -> None:
    path = await it.root("create_vm")
    uuid = it.uuid(path)
    assert await it.get(path, "slot") == 1
    assert await it.get(path, "name") == f"name-{uuid}"
    assert await it.get(path, "seamless-id") == uuid
    assert await it.db("read", f"/vm/{uuid}/config/memory") == "1024"
    assert path in await it.root("list_vms")
    assert await it.root("find_vm_by_uuid", uuid) == path
    await it.until_told("vm_created", path)


async def test_every_way_of_creating(it: Desk) -> None:
    given = await it.root("create_vm_with_template_and_uuid", "new-vm", SOME_UUID)
    assert given == "/vm/" + SOME_UUID.replace("-", "_")
    shown = await it.call(
        "/", XENMGR, "create_vm_with_ui", "ssss", "new-vm-xp", "Work", "a desc", "icons/x.png"
    )
    assert [await it.get(shown, name) for name in ("name", "description", "image-path")] == [
        "Work",
        "a desc",
        "icons/x.png",
    ]
    merged = await it.root(
        "create_vm_with_template_and_json", "new-vm", '{"name": "J", "config": {"memory": 2048}}'
    )
    assert (await it.get(merged, "name"), await it.get(merged, "memory")) == ("J", 2048)
    blank = await it.root("create_vm_with_template", " ")
    assert await it.get(blank, "memory") == 0


@pytest.mark.parametrize(
    ("template", "document", "expected"),
    [
        ("nonesuch", "", "223:IO error"),
        ("../service-uivm", "", "not the name of a template"),
        ("new-vm", "{", "malformed JSON"),
        ("new-vm", '{"config": {"memory": "much"}}', "config/memory"),
        ("new-vm", '{"uuid": "x"}', "not a uuid"),
    ],
)
async def test_what_cannot_be_created_leaves_nothing(
    it: Desk, template: str, document: str, expected: str
) -> None:
    before = await it.db("dump", "/")
    text = await it.fails(it.root("create_vm_with_template_and_json", template, document))
    assert expected in text
    assert await it.db("dump", "/") == before


async def test_a_uuid_in_use_is_refused_and_the_vm_keeps_its_configuration(it: Desk) -> None:
    path = await it.root("create_vm_with_template_and_uuid", "new-vm", SOME_UUID)
    await it.set(path, "name", "s", "mine")
    assert "already" in await it.fails(it.root("create_vm_with_template_and_uuid", "new-vm", SOME_UUID))
    assert await it.get(path, "name") == "mine"


async def test_a_vm_that_left_the_database_behind_our_back_is_no_object_any_more(it: Desk) -> None:
    path = await it.root("create_vm_with_template_and_uuid", "new-vm", SOME_UUID)
    await it.db("rm", f"/vm/{SOME_UUID}")
    assert "not in the database" in await it.fails(it.get_all(path, XENMGR_VM))
    objects = await it.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    assert path not in objects
    assert path not in await it.root("list_vms")
    assert await it.root("create_vm_with_template_and_uuid", "new-vm", SOME_UUID) == path
    assert await it.get(path, "memory") == 1024


async def test_a_vm_that_goes_while_others_are_asked_is_passed_over(it: Desk) -> None:
    path = await it.root("create_vm")
    await it.db("rm", f"/vm/{it.uuid(path)}")
    everything = it.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    one = it.name_of_error(it.get(path, "state"))
    objects, name = await asyncio.gather(everything, one)
    assert UIVM in objects
    assert path not in objects
    assert name == "org.freedesktop.DBus.Error.UnknownObject"


@pytest.mark.parametrize("other", ['"hello"', "5", "[]", "null", "true"])
async def test_what_is_stored_in_place_of_a_vm_hides_no_other_and_can_be_deleted(
    it: Desk, other: str
) -> None:
    await it.db("inject", f"/vm/{SOME_UUID}", other)
    path = f"/vm/{SOME_UUID.replace('-', '_')}"
    objects = await it.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    assert UIVM in objects
    assert path not in objects
    assert sorted(await it.root("list_vms")) == [UIVM, NDVM]
    assert "there is no VM" in await it.fails(it.root("find_vm_by_uuid", SOME_UUID))
    await it.call("/", f"{XENMGR}.unrestricted", "unrestricted_delete_vm", "s", SOME_UUID)
    assert SOME_UUID not in await it.db("list", "/vm")
    assert await it.root("create_vm_with_template_and_uuid", "new-vm", SOME_UUID) == path


async def test_a_vm_that_something_else_is_written_over_comes_back_with_its_tree(it: Desk) -> None:
    path = await it.root("create_vm")
    tree = await it.db("dump", f"/vm/{it.uuid(path)}")
    await it.db("inject", f"/vm/{it.uuid(path)}", '"hello"')
    assert await it.name_of_error(it.get(path, "state")) == "org.freedesktop.DBus.Error.UnknownObject"
    assert path not in await it.root("list_vms")
    await it.db("inject", f"/vm/{it.uuid(path)}", tree)
    assert path in await it.root("list_vms")
    assert await it.state(path) == "stopped"


async def test_the_tenth_user_vm_finds_no_slot(it: Desk) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(it.root("create_vm")) for _ in range(9)]
    assert sorted([await it.get(task.result(), "slot") for task in tasks]) == list(range(1, 10))
    assert (await it.fails(it.root("create_vm"))).startswith(refused(205))


@pytest.mark.parametrize(
    ("member", "signature", "body", "expected"),
    [
        ("find_vm_by_uuid", "s", SOME_UUID, "there is no VM"),
        ("find_vm_by_uuid", "s", "junk", "not a uuid"),
        ("find_vm_by_uuid", "s", "../" + DOM0_UUID, "not a uuid"),
        ("find_vm_by_domid", "i", 99, "no VM has domain 99"),
    ],
)
async def test_unknown_vms_are_not_found(
    it: Desk, member: str, signature: str, body: Any, expected: str
) -> None:
    assert expected in await it.fails(it.call("/", XENMGR, member, signature, body))


async def test_a_vm_made_again_with_its_old_uuid_is_a_new_one(it: Desk) -> None:
    for _ in range(2):
        path = await it.root("create_vm_with_template_and_uuid", "new-vm", SOME_UUID)
        assert await it.get(path, "description") == "Windows 7"
        await it.set(path, "description", "s", "changed")
        await it.vm(path, "delete")
    assert it.count("vm_created", path) == 2


# Properties


async def test_get_all_gives_what_get_gives(it: Desk) -> None:
    path = await it.root("create_vm")
    for interface in (XENMGR_VM, XENMGR_VM_UNRESTRICTED):
        everything = await it.get_all(path, interface)
        assert set(everything) == set(interface.property)
        for name, value in everything.items():
            assert await it.get(path, name, interface.name) == value, name
    only = set(XENMGR_VM_UNRESTRICTED.property) - set(XENMGR_VM.property)
    assert only == {row.name for row in UNRESTRICTED_ONLY}


async def test_get_all_sees_what_others_wrote_into_the_database(it: Desk) -> None:
    path = await it.root("create_vm")
    await it.get_all(path, XENMGR_VM)
    await it.db("write", f"/vm/{it.uuid(path)}/config/memory", "333")
    assert (await it.get_all(path, XENMGR_VM))["memory"] == 333


async def test_one_unreadable_leaf_hides_neither_the_vm_nor_the_others(it: Desk) -> None:
    path = await it.root("create_vm")
    await it.vm(path, "set_db_key", "config.memory", "☃")
    everything = await it.get_all(path, XENMGR_VM)
    assert (everything["memory"], everything["vcpus"]) == (0, 1)
    await it.set(path, "memory", "i", 5)
    assert await it.get(path, "memory") == 5


async def test_a_series_of_changes_is_announced_once_and_each_with_its_value(it: Desk) -> None:
    path = await it.root("create_vm")
    for memory in (1, 2, 3):
        await it.set(path, "memory", "i", memory)
    await it.set(path, "memory", "i", 3)
    await it.until_told("vm_config_changed", path)
    assert it.count("vm_config_changed", path) == 1
    assert it.changed_properties()["memory"] == 3
    assert it.changed_properties()["memory-min"] == 3
    assert it.changed_properties(UNRESTRICTED)["memory"] == 3


async def test_names_and_transfers_have_signals_of_their_own(it: Desk) -> None:
    path = await it.root("create_vm")
    await it.set(path, "name", "s", " new ")
    await it.until_told("vm_name_changed", path)
    assert await it.get(path, "name") == "new"
    for _ in range(2):
        await it.set(path, "download-progress", "i", 5)
    await it.until(lambda: it.count("vm_transfer_changed", path) == 2)


async def test_slots_that_are_taken_and_given_at_once_stay_different(it: Desk) -> None:
    paths = [await it.root("create_vm") for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        for turn in range(3):
            for at, path in enumerate(paths):
                group.create_task(it.set(path, "slot", "i", (at + turn) % 4 + 1))
        late = group.create_task(it.root("create_vm"))
    slots = [await it.get(path, "slot") for path in (*paths, late.result())]
    assert sorted(slots) == [1, 2, 3, 4, 5]


async def test_taking_a_slot_swaps_and_native_experience_moves(it: Desk) -> None:
    one, other = await it.root("create_vm"), await it.root("create_vm")
    await it.set(one, "slot", "i", 2)
    assert (await it.get(one, "slot"), await it.get(other, "slot")) == (2, 1)
    await it.set(one, "native-experience", "b", True)
    await it.set(other, "native-experience", "b", True)
    assert (await it.get(one, "native-experience"), await it.get(one, "start-on-boot")) == (False, False)
    assert await it.get(other, "start-on-boot") is True


async def test_gpu_passthrough_needs_pv_drivers(it: Desk) -> None:
    path = await it.root("create_vm")
    assert (await it.fails(it.set(path, "gpu", "s", "hdx"))).startswith(refused(210))
    await it.set(path, "pv-addons", "b", True)
    await it.set(path, "gpu", "s", "hdx")
    assert (await it.fails(it.set(path, "start-on-boot", "b", True))).startswith(refused(200))


async def test_the_cd_is_a_view_of_the_cd_drives(it: Desk) -> None:
    path = await it.root("create_vm")
    assert await it.get(path, "cd") == "xc-tools.iso"
    await it.set(path, "cd", "s", "debian.iso")
    assert await it.get(f"{path}/disk/0", "phys-path", VMDISK.name) == str(
        it.places.storage / "isos/debian.iso"
    )
    await it.set(path, "cd", "s", "")
    assert await it.get(path, "cd") == ""
    assert "not the name" in await it.fails(it.set(path, "cd", "s", "../x"))


# Lists


async def test_disks_come_with_objects_and_go(it: Desk) -> None:
    path = await it.root("create_vm")
    disk = await it.vm(path, "add_disk")
    assert disk == f"{path}/disk/1"
    assert await it.vm(path, "list_disks") == [f"{path}/disk/0", disk]
    everything = await it.get_all(disk, VMDISK)
    assert set(everything) == set(VMDISK.property)
    assert (everything["virt-path"], everything["devtype"], everything["snapshot"]) == ("hda", "disk", "none")
    await it.call(disk, VMDISK.name, "attach_phy", "s", "/dev/sdz")
    assert await it.get(disk, "phys-type", VMDISK.name) == "phy"
    await it.set(disk, "snapshot", "s", "temporary", VMDISK.name)
    await it.set(disk, "enabled", "b", False, VMDISK.name)
    for name, value in (("phys-type", "zip"), ("mode", "rw"), ("phys-path", "/a:b")):
        assert name in await it.fails(it.set(disk, name, "s", value, VMDISK.name))
    await it.call(disk, VMDISK.name, "delete")
    assert await it.vm(path, "list_disks") == [f"{path}/disk/0"]
    with pytest.raises(RemoteError):
        await it.get(disk, "mode", VMDISK.name)


async def test_a_disk_that_lost_its_entry_is_error_206_until_that_is_noticed(it: Desk) -> None:
    path = await it.root("create_vm")
    disk = await it.vm(path, "add_disk")
    await it.db("rm", f"/vm/{it.uuid(path)}/config/disk/1")
    text = await it.fails(it.get(disk, "mode", VMDISK.name))
    assert text.startswith(refused(206)) or text == disk  # of an unknown object


async def test_deleting_a_disk_takes_its_image_unless_another_vm_has_it(it: Desk) -> None:
    shared, own = it.places.storage / "disks/shared.vhd", it.places.storage / "disks/own.vhd"
    one, other = await it.root("create_vm"), await it.root("create_vm")
    for path, image in ((one, shared), (other, shared), (one, own)):
        image.write_bytes(b"")
        disk = await it.vm(path, "add_disk")
        await it.call(disk, VMDISK.name, "attach_vhd", "s", str(image))
    await it.vm(one, "delete")
    assert shared.exists()
    assert not own.exists()
    await it.vm(other, "delete")
    assert not shared.exists()


async def test_nics_come_with_objects_and_go(it: Desk) -> None:
    path = await it.root("create_vm_with_template_and_uuid", "new-vm", SOME_UUID)
    assert await it.get(path, "mac") == ""
    nic = await it.vm(path, "add_nic")
    everything = await it.get_all(nic, VMNIC)
    assert everything["network"] == "/wired/0/bridged"
    assert (everything["mac"], await it.get(path, "mac")) == ("auto", everything["mac-actual"])
    await it.set(nic, "mac", "s", "00:16:3e:00:00:01", VMNIC.name)
    assert await it.get(path, "mac") == "00:16:3e:00:00:01"
    assert "mac" in await it.fails(it.set(nic, "mac", "s", "nope", VMNIC.name))
    await it.set(nic, "wireless-driver", "b", True, VMNIC.name)
    assert (await it.get(path, "wired-network"), await it.get(path, "wireless-network")) == (
        "",
        "/wired/0/bridged",
    )
    await it.set(path, "wireless-network", "s", "/wifi/0/shared")
    assert await it.get(nic, "network", VMNIC.name) == "/wifi/0/shared"
    await it.db("rm", f"/vm/{SOME_UUID}/config/nic/0")
    assert (await it.fails(it.get(nic, "mac", VMNIC.name))).startswith(refused(222))


async def test_dependencies_follow_the_backends_of_nics(it: Desk) -> None:
    path = await it.root("create_vm")
    assert await it.get(path, "dependencies") == []
    await it.vm(path, "add_nic")
    assert await it.get(path, "dependencies") == [NDVM]


async def test_two_who_add_rules_at_once_lose_none(it: Desk) -> None:
    path = await it.root("create_vm_with_template", "new-vm-empty")
    async with asyncio.TaskGroup() as group:
        for port in range(20):
            group.create_task(it.vm(path, "add_v4v_firewall_rule", f"myself->0:{port}"))
            group.create_task(
                it.call(path, XENMGR_VM_PCI.name, "add_pt_rule", "sss", "any", "any", str(port))
            )
    rules = await it.vm(path, "list_v4v_firewall_rules")
    assert sorted(rules) == sorted(f"myself -> 0:{port}" for port in range(20))
    passthrough = await it.call(path, XENMGR_VM_PCI.name, "list_pt_rules")
    assert [rule["id"] for rule in passthrough] == [str(id) for id in range(1, 21)]
    await it.vm(path, "add_v4v_firewall_rule", "myself -> 0:3")
    await it.vm(path, "delete_v4v_firewall_rule", "myself->0:4")
    assert len(await it.vm(path, "list_v4v_firewall_rules")) == 19
    assert (await it.fails(it.vm(path, "add_v4v_firewall_rule", "nonsense"))).startswith(refused(237))


async def test_network_firewall_rules_are_kept(it: Desk) -> None:
    path = await it.root("create_vm")
    await it.call(path, VM, "add_net_firewall_rule", "isss", 4, "in", "10.0.0.1", "tcp")
    assert await it.vm(path, "list_net_firewall_rules") == [
        {"id": "4", "direction": "in", "remote-ip": "10.0.0.1", "extra": "tcp"}
    ]
    assert "direction" in await it.fails(
        it.call(path, VM, "add_net_firewall_rule", "isss", 4, "up", "10.0.0.1", "")
    )
    await it.call(path, VM, "delete_net_firewall_rule", "i", 4)
    assert await it.vm(path, "list_net_firewall_rules") == []


async def test_policies_are_enforced_and_retrieved_by_word(it: Desk) -> None:
    path = await it.root("create_vm")
    policy, uuid = "com.citrix.xenclient.policy", it.uuid(path)
    await it.call("/", policy, "enforce", "ss", uuid, "block-cd-rec;block-wired-networking")
    assert await it.call("/", policy, "retrieve", "s", uuid) == "block-cd-rec;block-wired-networking"
    assert await it.get(path, "policy-cd-recording") is False
    await it.call("/", policy, "enforce", "ss", uuid, "")
    assert await it.call("/", policy, "retrieve", "s", uuid) == ""
    assert "no VM" in await it.fails(it.call("/", policy, "retrieve", "s", SOME_UUID))


async def test_keys_of_the_database_and_the_domstore(it: Desk) -> None:
    path = await it.root("create_vm")
    await it.vm(path, "set_db_key", "config.cmdline", "quiet")
    assert await it.get(path, "cmd-line") == "quiet"
    assert await it.vm(path, "get_db_key", "config.cmdline") == "quiet"
    await it.vm(path, "set_domstore_key", "a.b", "c")
    assert await it.db("read", f"/dom-store/{it.uuid(path)}/a/b") == "c"
    assert await it.vm(path, "get_domstore_key", "a.b") == "c"
    assert "empty" in await it.fails(it.vm(path, "set_db_key", "", "x"))


async def test_product_properties_take_values_of_their_type(it: Desk) -> None:
    fields = {"key": "k", "type": "uint8", "value": "1"}
    path = await it.root(
        "create_vm_with_template_and_json", "new-vm", json.dumps({"productproperty": {"c.k": fields}})
    )
    product = f"{VM}.product"
    assert [entry["id"] for entry in await it.call(path, product, "list_product_properties")] == ["c.k"]
    await it.call(path, product, "set_product_property", "ss", "c.k", "255")
    assert await it.call(path, product, "get_product_property", "s", "c.k") == "255"
    assert "uint8" in await it.fails(it.call(path, product, "set_product_property", "ss", "c.k", "256"))


async def test_icons_stay_in_their_folder(it: Desk) -> None:
    icons = it.places.at("/usr/lib/xui")
    icons.mkdir(parents=True)
    (icons / "a.png").write_bytes(b"png")
    path = await it.root("create_vm")
    await it.set(path, "image-path", "s", "a.png")
    assert bytes(await it.vm(path, "read_icon")) == b"png"
    await it.set(path, "image-path", "s", "b.png")
    assert (await it.fails(it.vm(path, "read_icon"))).startswith(refused(223))
    await it.set(path, "image-path", "s", "../../../etc/passwd")
    assert "not the path of an icon" in await it.fails(it.vm(path, "read_icon"))


# The whole


async def test_one_call_fetches_everything(it: Desk) -> None:
    path = await it.root("create_vm")
    objects = await it.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    assert {path, f"{path}/disk/0", NDVM, UIVM, "/host"} <= set(objects)
    assert objects[path][VM]["name"].value == f"name-{it.uuid(path)}"
    assert any(name == "InterfacesAdded" and body[0] == path for name, body in it.signals)
    await it.vm(path, "delete")
    await it.until(lambda: any(name == "InterfacesRemoved" and body[0] == path for name, body in it.signals))


async def test_a_restarted_database_daemon_goes_unnoticed(it: Desk) -> None:
    path = await it.root("create_vm")
    it.house.supervisor.kill("dbd")
    async with asyncio.TaskGroup() as group:
        got = group.create_task(it.get(path, "slot"))
        made = group.create_task(it.root("create_vm"))
        written = group.create_task(it.set(path, "memory", "i", 77))
    assert got.result() == 1
    assert made.result() in await it.root("list_vms")
    await written
    assert await it.get(path, "memory") == 77


async def test_a_call_without_its_interface_or_to_a_wrong_one_is_told_apart(it: Desk) -> None:
    for path, interface, member, error in (
        ("/vm/none", VM, "start", "UnknownObject"),
        ("/", XENMGR, "nonesuch", "UnknownMethod"),
        ("/", PROPERTIES, "Get", "InvalidArgs"),
    ):
        with pytest.raises(RemoteError) as wrong:
            await it.call(path, interface, member)
        assert wrong.value.name.endswith(error)
