# SPDX-License-Identifier: GPL-2.0-or-later
"""openxt_ovf.image_format, demands and progress: what comes from outside is judged, and told without harm."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_ovf.demands import demands
from openxt_ovf.image_format import Format, checked, declared, found
from openxt_ovf.progress import Progress, harmless
from openxt_ovf.read import read_envelope
from openxt_ovf.to_template import Choices, plan_of
from ovf_packages import QCOW2, STREAM, VHD, Descriptor, section

MAGIC = [b"KDMV", b"COWD", b"QFI\xfb", b"vhdxfile", b"conectix", b"# Disk DescriptorFile", b""]


@given(st.sampled_from(MAGIC), st.binary(max_size=700), st.binary(max_size=512), st.booleans())
def test_any_bytes_are_an_image_of_some_format_or_refused(
    magic: bytes, rest: bytes, tail: bytes, has_parent: bool
) -> None:
    try:
        assert checked(magic + rest, tail, None, has_parent) in Format
    except BadRequest:
        pass


@given(st.binary(max_size=100))
def test_a_vdi_image_of_any_content_is_read_or_refused(rest: bytes) -> None:
    head = bytes(64) + b"\x7f\x10\xda\xbe" + rest
    assert found(head, b"") is Format.VDI
    try:
        checked(head, b"", None, has_parent=False)
    except BadRequest:
        pass


@pytest.mark.parametrize(
    ("text", "expected"),
    [(STREAM, Format.VMDK), (VHD, Format.VHD), (QCOW2, Format.QCOW2), ("vhd", Format.VHD)],
)
def test_formats_are_known_by_words_and_addresses(text: str, expected: Format) -> None:
    assert declared(text) is expected


def test_an_image_must_be_what_the_package_says() -> None:
    with pytest.raises(BadRequest, match="calls it a VMDK image, but it is none"):
        checked(b"anything", b"", Format.VMDK, has_parent=False)


def override(name: str, value: str) -> str:
    one = f'<xci:Property xci:name="{name}" xci:value="{value}"/>'
    return f"<xci:PropertyOverride>{one}</xci:PropertyOverride>"


DEMANDS = {
    override("run-pre-boot", "x"): "run a program",
    override("kernel", "/x"): "a file of dom0",
    '<xci:DBEntry xci:key="config/disk/0/path" xci:value="/dev/sda"/>': "writes into its configuration",
    '<xci:DBEntry xci:key="run-pre-boot" xci:value="x"/>': "writes into its configuration",
    "<xci:RpcFirewall><xci:RpcRule>allow any</xci:RpcRule></xci:RpcFirewall>": "may call services",
    '<xci:PCIPassthrough><xci:MatchBDF xci:bdf="00:02.0"/></xci:PCIPassthrough>': "gets PCI devices",
}


@pytest.mark.parametrize("inner", DEMANDS)
def test_what_reaches_into_dom0_is_told(inner: str) -> None:
    assert [DEMANDS[inner] in one for one in _demands(inner)] == [True]


@pytest.mark.parametrize(
    "inner",
    [
        override("kernel", ""),
        override("memory", "9"),
        '<xci:DBEntry xci:key="config/acpi" xci:value="true"/>',
        '<xci:DBEntry xci:section="vm-domstore" xci:key="kernel" xci:value="x"/>',
        "<xci:V4VFirewall><xci:V4VRule>myself -&gt; 0:5555</xci:V4VRule></xci:V4VFirewall>",
    ],
)
def test_what_concerns_the_vm_alone_is_not_asked_about(inner: str) -> None:
    assert _demands(inner) == []


def _demands(inner: str) -> list[str]:
    machine = f'<xci:VirtualMachine xci:ovfId="web">{inner}</xci:VirtualMachine>'
    envelope = read_envelope(Descriptor(xci=section(machine)).data())
    return demands(plan_of(envelope, Choices(str)), envelope)


@given(st.text())
def test_no_text_steers_the_terminal(text: str) -> None:
    stream = io.StringIO()
    Progress(stream).tell(text)
    assert stream.getvalue() == harmless(text) + "\n"
    assert not set(harmless(text)) & {"\x1b", "\r", "\x07", "\x9b", "\x7f", "\u202e"}
    assert harmless("Széép 漢字\n\tok") == "Széép 漢字\n\tok"
