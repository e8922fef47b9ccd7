# SPDX-License-Identifier: GPL-2.0-or-later
"""openxt_ovf.read and its parts: a descriptor becomes an Envelope, or is refused with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_ovf.model import DbEntry, Disk, Envelope, File, Key, Overrides, PciMatch, XciDisk
from openxt_ovf.read import read_envelope
from ovf_packages import Descriptor, item, section


def read(**parts: str) -> Envelope:
    return read_envelope(Descriptor(**parts).data())


def test_references_disks_and_networks_are_read() -> None:
    found = read(
        files='<File ovf:id="f" ovf:href="a%20b.vmdk" ovf:size="7" ovf:compression="gzip"'
        ' ovf:chunkSize="5"/>',
        disks='<Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="${size}" ovf:parentRef="e" ovf:format="x"'
        ' ovf:capacityAllocationUnits="byte * 2^30"/>',
        networks='<Network ovf:name="LAN"><Description>the wire</Description></Network>',
        envelope='<SharedDiskSection><Info/><Disk ovf:diskId="s" ovf:capacity="1"/></SharedDiskSection>',
    )
    assert found.files == (File("f", "a%20b.vmdk", 7, "gzip", 5),)
    assert found.disks == (
        Disk("d", "f", "${size}", "byte * 2^30", "x", "e"),
        Disk("s", "", "1", is_shared=True),
    )
    assert [(one.name, one.description) for one in found.networks] == [("LAN", "the wire")]


def test_hardware_is_read_in_the_order_of_instance_ids() -> None:
    (system,) = read(items=item(10, 17) + item(9, 4) + item("x", 10) + item(1, 3)).systems
    assert [one.instance for one in system.items] == ["1", "9", "10", "x"]


def test_items_of_ovf_2_have_their_own_elements_and_namespaces() -> None:
    (system,) = read(
        items=item(1, 17, "HostResource=ovf:/disk/d Access=1", "StorageItem", "sasd")
        + item(2, 10, "Connection=LAN Address=00-11-22-33-44-55", "EthernetPortItem", "epasd")
    ).systems
    disk, nic = system.items
    assert (disk.host_resource, disk.is_read_only) == ("ovf:/disk/d", True)
    assert (nic.connection, nic.address) == ("LAN", "00-11-22-33-44-55")


def test_limits_of_ranges_are_no_items() -> None:
    limits = item(1, 4).replace("<Item>", '<Item ovf:bound="min">') + item(1, 4).replace(
        "<Item>", '<Item ovf:bound="max">'
    )
    (system,) = read(items=item(1, 4, "VirtualQuantity=5") + limits).systems
    assert [one.quantity for one in system.items] == [5]


def test_of_several_configurations_the_default_one_counts() -> None:
    small = item(1, 4, "VirtualQuantity=1")
    big = item(1, 4, "VirtualQuantity=8").replace("<Item>", '<Item ovf:configuration="big huge">')
    other = item(2, 3).replace("<Item>", '<Item ovf:configuration="tiny">')
    options = (
        '<DeploymentOptionSection><Info/><Configuration ovf:id="tiny"/>'
        '<Configuration ovf:id="big" ovf:default="true"/></DeploymentOptionSection>'
    )
    (system,) = read(items=small + big + other, envelope=options).systems
    assert [(one.instance, one.quantity) for one in system.items] == [("1", 8)]


def test_product_properties_keep_type_value_and_flags() -> None:
    product = (
        '<ProductSection ovf:class="org.x" ovf:instance="2"><Info/><Property ovf:key="port" ovf:type="uint16"'
        ' ovf:value=" 80 " ovf:userConfigurable="true"><Description>where</Description></Property>'
        '<Property ovf:key="pw" ovf:type="password(..20)"/></ProductSection>'
    )
    (product_,) = read(system=product).systems[0].products
    assert (product_.class_, product_.instance) == ("org.x", "2")
    port, password = product_.properties
    assert (port.type, port.value, port.is_user_configurable, port.description) == (
        "uint16",
        " 80 ",
        True,
        "where",
    )
    assert (password.type, password.is_password) == ("String", True)


def test_systems_inside_collections_are_all_read() -> None:
    inner = Descriptor(id="two").text().partition("<VirtualSystem ")[2].partition("</Envelope>")[0]
    text = Descriptor(
        xci=f'<VirtualSystemCollection ovf:id="c"><Info/><VirtualSystemCollection ovf:id="d"><Info/>'
        f"<EulaSection><Info/><License>Be nice.</License></EulaSection><VirtualSystem {inner}"
        "</VirtualSystemCollection></VirtualSystemCollection>"
    )
    found = read_envelope(text.data())
    assert [one.id for one in found.systems] == ["web", "two"]
    assert found.licences == ("Be nice.",)


def test_the_xci_extension_is_read_whole() -> None:
    found = read(
        xci=section(
            '<xci:Disk xci:ovfId="a" xci:filesystem="swap">'
            '<xci:GenerateEncryptionKey xci:keySize="256"/></xci:Disk>'
            '<xci:Disk xci:ovfId="b"><xci:ImportEncryptionKey xci:fileRef="k"/></xci:Disk>'
            '<xci:Network xci:name="LAN" xci:clientNetworkId="/wired/0/shared"/>'
            '<xci:VirtualMachine xci:ovfId="web" xci:templateId="new-vm"'
            ' xci:uuid="AAAAAAAA-0000-0000-0000-000000000001">'
            '<xci:PropertyOverride><xci:Property xci:name="memory" xci:value="5"/></xci:PropertyOverride>'
            "<xci:V4VFirewall><xci:V4VRule>0 -&gt; myself</xci:V4VRule></xci:V4VFirewall>"
            "<xci:RpcFirewall><xci:RpcRule>allow any</xci:RpcRule></xci:RpcFirewall>"
            '<xci:PCIPassthrough><xci:MatchBDF xci:bdf="00:19.0"/>'
            '<xci:MatchID xci:class="768" xci:vendor="0x8086"/></xci:PCIPassthrough>'
            '<xci:NetworkAdapter xci:ovfInstanceId="3"><xci:PropertyOverride>'
            '<xci:Property xci:name="mac" xci:value="x"/></xci:PropertyOverride></xci:NetworkAdapter>'
            '<xci:StorageDevice xci:ovfInstanceId="4"/>'
            '<xci:DBEntry xci:key="/a/b" xci:value="v"/>'
            '<xci:DBEntry xci:section="vm-domstore" xci:key="c" xci:value=""/>'
            '<xci:DomStoreFile xci:fileRef="f"/></xci:VirtualMachine>',
            version="7",
        )
    ).xci
    assert (found.appliance_id, found.version) == ("shop", 7)
    assert found.disks == (XciDisk("a", "swap", Key(256)), XciDisk("b", "", Key(file="k")))
    assert found.networks == (("LAN", "/wired/0/shared"),)
    (system,) = found.systems
    assert (system.template, system.uuid) == ("new-vm", "aaaaaaaa-0000-0000-0000-000000000001")
    assert system.properties == (("memory", "5"),)
    assert (system.v4v_rules, system.rpc_rules) == (("0 -> myself",), ("allow any",))
    assert system.pci == (PciMatch(bdf="00:19.0"), PciMatch("", "0x0300", "0x8086", ""))
    assert (system.nics, system.disks) == ((Overrides("3", (("mac", "x"),)),), (Overrides("4", ()),))
    assert system.db_entries == (DbEntry("vm", "a/b", "v"), DbEntry("vm-domstore", "c", ""))
    assert system.domstore_files == ("f",)


BAD_XCI = {
    "<xci:Surprise/>": "'xci:Surprise' is not known inside xci:ApplianceSection",
    "<xci:VirtualMachine/>": "xci:VirtualMachine has no attribute xci:ovfId",
    '<xci:Disk xci:ovfId="a" xci:filesystem="zfs"/>': "xci:filesystem cannot be 'zfs'",
    '<xci:VirtualMachine xci:ovfId="web" xci:uuid="1"/>': "not a uuid",
    '<xci:VirtualMachine xci:ovfId="a"/><xci:VirtualMachine xci:ovfId="a"/>': "two xci:VirtualMachine",
    '<xci:VirtualMachine xci:ovfId="a"><xci:PCIPassthrough><xci:MatchID/></xci:PCIPassthrough>'
    "</xci:VirtualMachine>": "would take every device",
    '<xci:VirtualMachine xci:ovfId="a"><xci:DBEntry xci:section="root" xci:key="a"/></xci:VirtualMachine>': (
        "xci:section cannot be 'root'"
    ),
    '<xci:Disk xci:ovfId="a"><xci:GenerateEncryptionKey xci:keySize="128"/></xci:Disk>': "xci:keySize",
}


@pytest.mark.parametrize("inner", BAD_XCI)
def test_the_xci_extension_is_strict(inner: str) -> None:
    with pytest.raises(BadRequest, match=BAD_XCI[inner]):
        read(xci=section(inner))


BAD = {
    b"": "OVF parser error",
    b"<a/>": "no OVF envelope",
    b"\xff\xfe<a/>": "OVF parser error",
    Descriptor(files='<File ovf:id="f"/>').data(): "has no href",
    Descriptor(files='<File ovf:id="f" ovf:href="a"/>' * 2).data(): "two File elements have the id 'f'",
    Descriptor(files='<File ovf:id="f" ovf:href="a" ovf:size="x"/>').data(): "size of File 'f' cannot be 'x'",
    Descriptor(files='<File ovf:id="f" ovf:href="a" ovf:compression="xz"/>').data(): "compression 'xz'",
    Descriptor(disks="<Disk/>").data(): "a Disk has no id",
    Descriptor(items=item(1, 4) * 2).data(): "two items have the InstanceID '1'",
    Descriptor(items="<Item><rasd:ResourceType>4</rasd:ResourceType></Item>").data(): "no InstanceID",
    Descriptor(items=item(1, 4, "VirtualQuantity=lots")).data(): "VirtualQuantity of item '1'",
    Descriptor(envelope="<EncryptionSection/>").data(): "the package is encrypted",
    Descriptor(envelope='<vmw:Odd ovf:required="true"/>').data(): "requires 'vmw:Odd'",
    Descriptor(id="").data(): "a VirtualSystem has no id",
    Descriptor().data().replace(b"VirtualSystem ", b"Nothing ").replace(b"/VirtualSystem>", b"/Nothing>"): (
        "holds no VirtualSystem"
    ),
    b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>': "declaration is not allowed",
    b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>': "declaration is not allowed",
    b"<a>" * 5000 + b"</a>" * 5000: "nested too deep",
}


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_a_bad_descriptor_is_refused_with_its_reason(data: bytes) -> None:
    with pytest.raises(BadRequest, match=BAD[data]):
        read_envelope(data)


def test_what_is_not_understood_is_told_unless_it_may_be_left_out() -> None:
    found = read(envelope='<vmw:Odd/><vmw:Even ovf:required="false"/>')
    assert found.warnings == ("'vmw:Odd' is not understood and passed over",)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read_envelope(data)


@given(st.data())
def test_a_descriptor_with_any_damage_is_read_or_refused(data: st.DataObject) -> None:
    text = bytearray(
        Descriptor(
            files='<File ovf:id="f" ovf:href="a"/>', xci=section('<xci:VirtualMachine xci:ovfId="web"/>')
        ).data()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    try:
        assert isinstance(read_envelope(bytes(text)), Envelope)
    except BadRequest:
        pass
