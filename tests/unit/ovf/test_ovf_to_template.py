# SPDX-License-Identifier: GPL-2.0-or-later
"""openxt_ovf.to_template: an Envelope becomes a plan for this host, or does not fit together."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_core.signature import Variant
from openxt_ovf.hardware import mac, memory_mib
from openxt_ovf.model import Item, Resource, System
from openxt_ovf.plan import Copy, Plan, Vm
from openxt_ovf.read import read_envelope
from openxt_ovf.to_template import Choices, plan_of
from ovf_packages import Descriptor, item, section

FILE = '<File ovf:id="f" ovf:href="a.vhd"/>'
DISK = '<Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="3" ovf:capacityAllocationUnits="byte * 2^20"/>'


def plan(choices: Choices | None = None, **parts: str) -> Plan:
    numbers = itertools.count(1)
    chosen = choices or Choices(lambda: "")
    chosen = replace(chosen, new_uuid=lambda: f"00000000-0000-0000-0000-{next(numbers):012}")
    return plan_of(read_envelope(Descriptor(**parts).data()), chosen)


def vm(**parts: str) -> Vm:
    (found,) = plan(**parts).vms
    return found


def test_a_system_becomes_a_vm_with_its_sizes() -> None:
    found = vm(hardware=' ovf:transport="com.vmware.guestInfo iso"')
    assert (found.name, found.system, found.template) == ("Web server", "web", "new-vm-empty")
    assert (found.vcpus, found.memory_mib, found.has_iso_transport) == (2, 64, True)


def test_without_items_there_are_defaults() -> None:
    found = vm(items="", name="")
    assert (found.name, found.vcpus, found.memory_mib, found.drives, found.nics) == ("web", 1, 512, (), ())


def test_id_and_version_come_from_the_person_then_the_package_then_are_defaults() -> None:
    assert (plan().id, plan().version) == ("unnamed", 1)
    given_ = section("", "shop", "4")
    assert (plan(xci=given_).id, plan(xci=given_).version) == ("shop", 4)
    chosen = plan(Choices(str, "mine", 0), xci=given_)
    assert (chosen.id, chosen.version) == ("mine", 0)


def test_each_use_of_a_disk_gets_an_image_of_its_own() -> None:
    found = plan(
        files=FILE,
        disks=DISK,
        items=item(4, 17, "HostResource=ovf:/disk/d") + item(5, 17, "HostResource=/disk/d"),
    )
    assert [(one.path, one.index) for one in found.images] == [
        ("/storage/disks/unnamed-d-00000000-0000-0000-0000-000000000002.vhd", 0),
        ("/storage/disks/unnamed-d-00000000-0000-0000-0000-000000000003.vhd", 1),
    ]
    assert {one.capacity for one in found.images} == {3 << 20}


def test_a_shared_disk_has_one_image_whatever_uses_it() -> None:
    shared = f"<SharedDiskSection><Info/>{DISK}</SharedDiskSection>"
    found = plan(
        files=FILE,
        envelope=shared,
        items=item(4, 17, "HostResource=ovf:/disk/d") + item(5, 17, "HostResource=ovf:/disk/d"),
    )
    (image,) = found.images
    assert image.path == "/storage/disks/unnamed-d.vhd"
    assert [drive.image for drive in found.vms[0].drives] == [image, image]


def test_drives_of_a_controller_come_in_the_order_of_their_addresses() -> None:
    files = "".join(f'<File ovf:id="{id}" ovf:href="{id}.iso"/>' for id in "abc")
    found = vm(
        files=files,
        items=item(3, 5)
        + item(4, 6)
        + item(7, 15, "HostResource=ovf:/file/c Parent=4 AddressOnParent=0")
        + item(8, 15, "HostResource=ovf:/file/b Parent=3 AddressOnParent=1")
        + item(9, 15, "HostResource=ovf:/file/a Parent=3 AddressOnParent=0"),
    )
    assert [drive.iso for drive in found.drives] == [f"/storage/isos/{id}.iso" for id in "abc"]


def test_discs_are_copied_once_and_those_of_the_host_used_in_place() -> None:
    found = plan(
        files='<File ovf:id="f" ovf:href="x/t.iso"/><File ovf:id="h" ovf:href="file:///storage/isos/h.iso"/>',
        items=item(1, 15, "HostResource=ovf:/file/f")
        + item(2, 16, "HostResource=ovf:/file/f")
        + item(3, 15, "HostResource=ovf:/file/h")
        + item(4, 15, "AutomaticAllocation=false"),
    )
    assert [one.path for one in found.isos] == ["/storage/isos/t.iso"]
    drives = found.vms[0].drives
    assert [drive.iso for drive in drives] == ["/storage/isos/t.iso"] * 2 + ["/storage/isos/h.iso", ""]
    assert [drive.is_enabled for drive in drives] == [True, True, True, False]
    assert all(drive.is_read_only for drive in drives)


def test_networks_are_mapped_by_the_person_then_the_package_then_bridged() -> None:
    names = ("A", "B", "C")
    parts = {
        "networks": "".join(f'<Network ovf:name="{name}"/>' for name in names),
        "items": "".join(item(number, 10, f"Connection={name}") for number, name in enumerate(names))
        + item(9, 10, "AutomaticAllocation=false"),
        "xci": section(
            '<xci:Network xci:name="A" xci:clientNetworkId="/p/a"/>'
            '<xci:Network xci:name="B" xci:clientNetworkId="/p/b"/>'
        ),
    }
    found = plan(Choices(str, networks={"A": "/mine"}), **parts).vms[0].nics
    assert [nic.network for nic in found] == ["/mine", "/p/b", "/wired/0/bridged", None]
    assert [nic.is_enabled for nic in found] == [True, True, True, False]
    with pytest.raises(BadRequest, match="has no network 'Z'; it has: A, B, C"):
        plan(Choices(str, networks={"Z": "/x"}), **parts)


@pytest.mark.parametrize("text", ["00-16-3E-00-00-01", "00163E000001", "00:16:3e:00:00:01"])
def test_a_mac_address_may_be_written_in_three_ways(text: str) -> None:
    (nic,) = vm(items=item(1, 10, f"Address={text}")).nics
    assert [(one.name, one.value) for one in nic.settings] == [("mac", Variant("s", "00:16:3e:00:00:01"))]


@given(st.text(max_size=20))
def test_any_text_is_a_mac_address_with_colons_or_refused(text: str) -> None:
    try:
        assert len(mac(text, "x").split(":")) == 6
    except BadRequest:
        pass


def test_overrides_are_typed_by_the_interface_tables() -> None:
    properties = (
        '<xci:PropertyOverride><xci:Property xci:name="start-on-boot" xci:value="true"/>'
        '<xci:Property xci:name="com.citrix.xenclient.xenmgr.vm.memory" xci:value="99"/>'
        "</xci:PropertyOverride>"
    )
    found = vm(xci=section(f'<xci:VirtualMachine xci:ovfId="web">{properties}</xci:VirtualMachine>'))
    assert [(one.interface, one.name, one.value) for one in found.settings] == [
        ("com.citrix.xenclient.xenmgr.vm.unrestricted", "start-on-boot", Variant("b", True)),
        ("com.citrix.xenclient.xenmgr.vm", "memory", Variant("i", 99)),
    ]


def test_files_of_a_vm_get_places_below_its_uuid() -> None:
    found = vm(
        files='<File ovf:id="f" ovf:href="x/key.bin"/>',
        system='<EnvironmentFilesSection><Info/><File ovf:fileRef="f" ovf:path="/etc/a"/>'
        "</EnvironmentFilesSection>",
        xci=section(
            '<xci:VirtualMachine xci:ovfId="web"><xci:DomStoreFile xci:fileRef="f"/></xci:VirtualMachine>'
        ),
    )
    assert [one.path for one in found.files if isinstance(one, Copy)] == [
        f"/config/dom-store/{found.uuid}/key.bin",
        f"/storage/ovffiles/{found.uuid}/etc/a",
    ]


def test_a_capacity_may_be_that_of_a_property() -> None:
    found = plan(
        disks='<Disk ovf:diskId="d" ovf:capacity="${size}" ovf:capacityAllocationUnits="byte * 2^30"/>',
        items=item(1, 17, "HostResource=ovf:/disk/d"),
        system='<ProductSection><Info/><Property ovf:key="size" ovf:value="5"/></ProductSection>',
    )
    assert found.images[0].capacity == 5 << 30


def test_what_efi_firmware_means_is_told() -> None:
    found = plan(items='<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>')
    assert found.warnings == ("'web' wants EFI firmware; it will get a BIOS and may not boot",)


def test_vmwares_cores_per_socket_are_kept_where_they_fit() -> None:
    found = vm(
        items=item(1, 3, "VirtualQuantity=4").replace(
            "</Item>", "<vmw:CoresPerSocket>2</vmw:CoresPerSocket></Item>"
        )
    )
    assert [(one.name, one.value.value) for one in found.settings] == [("cores-per-socket", 2)]


@given(st.lists(st.integers(0, 1 << 30), max_size=4))
def test_memory_is_the_sum_of_its_items_rounded_up(sizes: list[int]) -> None:
    items = tuple(Item(str(n), Resource.MEMORY, quantity=size, units="byte") for n, size in enumerate(sizes))
    expected = -(-sum(sizes) // (1 << 20)) if any(sizes) else 512
    assert memory_mib(System("x", items=items)) == expected


BAD: dict[str, tuple[dict[str, str], str]] = {
    "an unknown network": ({"items": item(1, 10, "Connection=Nowhere")}, "no network 'Nowhere'"),
    "an unknown disk": ({"items": item(1, 17, "HostResource=ovf:/disk/z")}, "no disk 'z'"),
    "an unknown file": ({"items": item(1, 15, "HostResource=ovf:/file/z")}, "not among the References"),
    "a disk without source": ({"items": item(1, 17)}, "a disk cannot be ''"),
    "another scheme": ({"items": item(1, 17, "HostResource=http://x")}, "a disk cannot be 'http://x'"),
    "a disk in a CD drive": ({"items": item(1, 15, "HostResource=ovf:/disk/z")}, "a CD drive cannot hold"),
    "nothing to make a disk of": (
        {"disks": '<Disk ovf:diskId="d"/>', "items": item(1, 17, "HostResource=ovf:/disk/d")},
        "neither a capacity nor a file",
    ),
    "a huge disk": (
        {
            "disks": '<Disk ovf:diskId="d" ovf:capacity="3" ovf:capacityAllocationUnits="byte * 2^40"/>',
            "items": item(1, 17, "HostResource=ovf:/disk/d"),
        },
        "2040 GiB",
    ),
    "an empty disk of size 0": (
        {
            "disks": '<Disk ovf:diskId="d" ovf:capacity="0"/>',
            "items": item(1, 17, "HostResource=ovf:/disk/d"),
        },
        "a capacity of 0 bytes",
    ),
    "a disk that builds on itself": (
        {
            "files": FILE,
            "disks": '<Disk ovf:diskId="d" ovf:fileRef="f" ovf:parentRef="e"/>'
            '<Disk ovf:diskId="e" ovf:fileRef="f" ovf:parentRef="d"/>',
            "items": item(1, 17, "HostResource=ovf:/disk/d"),
        },
        "builds on itself",
    ),
    "a disk's name with a slash": (
        {
            "files": FILE,
            "disks": DISK.replace('"d"', '"../d"'),
            "items": item(1, 17, "HostResource=ovf:/disk/../d"),
        },
        "no slash",
    ),
    "a system's name with a slash": ({"id": "a/b"}, "no slash"),
    "an appliance's name that hides": ({"xci": section("", ".x")}, "no dot"),
    "an appliance's name of one under way": ({"xci": section("", "_temp_x")}, "cannot begin with '_temp_'"),
    "an environment file elsewhere": (
        {
            "files": FILE,
            "system": '<EnvironmentFilesSection><File ovf:fileRef="f" ovf:path="../../x"/>'
            "</EnvironmentFilesSection>",
        },
        "leads out of",
    ),
    "too many processors": ({"items": item(1, 3, "VirtualQuantity=4000")}, "4000 processors"),
    "too much memory": (
        {"items": item(1, 4, "VirtualQuantity=9 AllocationUnits=byte*2^50")},
        "more than is possible",
    ),
    "memory in hertz": ({"items": item(1, 4, "VirtualQuantity=9 AllocationUnits=hertz")}, "no unit of bytes"),
    "a bad MAC address": ({"items": item(1, 10, "Address=1:2")}, "no MAC address"),
    "the extension speaks of strangers": (
        {"xci": section('<xci:VirtualMachine xci:ovfId="other"/>')},
        "speaks of 'other'",
    ),
    "an unknown property": (
        {
            "xci": section(
                '<xci:VirtualMachine xci:ovfId="web"><xci:PropertyOverride><xci:Property xci:name="nope"'
                ' xci:value=""/></xci:PropertyOverride></xci:VirtualMachine>'
            )
        },
        "property 'nope' not found",
    ),
    "a property that cannot be written": (
        {
            "xci": section(
                '<xci:VirtualMachine xci:ovfId="web"><xci:PropertyOverride><xci:Property xci:name="uuid"'
                ' xci:value=""/></xci:PropertyOverride></xci:VirtualMachine>'
            )
        },
        "property 'uuid' cannot be written",
    ),
    "a value of another type": (
        {
            "xci": section(
                '<xci:VirtualMachine xci:ovfId="web"><xci:PropertyOverride><xci:Property xci:name="memory"'
                ' xci:value="much"/></xci:PropertyOverride></xci:VirtualMachine>'
            )
        },
        "property 'memory' cannot be 'much'",
    ),
    "an override for no item": (
        {
            "xci": section(
                '<xci:VirtualMachine xci:ovfId="web"><xci:StorageDevice xci:ovfInstanceId="99"/>'
                "</xci:VirtualMachine>"
            )
        },
        "no such item: '99'",
    ),
    "a product property with a slash": (
        {"system": '<ProductSection><Property ovf:key="a/b"/></ProductSection>'},
        "product property 'a/b'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_by_name(case: str) -> None:
    parts, reason = BAD[case]
    with pytest.raises(BadRequest, match=reason):
        plan(**parts)
