# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors of other hypervisors become the VMs that were exported."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest, NotSupported
from openxt_ovf.image_format import Format, declared
from openxt_ovf.plan import Plan, Vm
from openxt_ovf.read import read_envelope
from openxt_ovf.to_template import Choices, plan_of

GOLDEN = Path(__file__).parents[2] / "golden/ovf"


def plan(name: str) -> Plan:
    numbers = itertools.count()
    data = (GOLDEN / f"{name}.ovf").read_bytes()
    return plan_of(read_envelope(data), Choices(lambda: f"00000000-0000-0000-0000-{next(numbers):012}"))


def vm(name: str) -> Vm:
    (found,) = plan(name).vms
    return found


# Name, vcpus, memory, drives (disk id, disc or "-"), networks
EXPECTED: dict[str, tuple[str, int, int, list[str], int]] = {
    "vmware-esxi": ("my server (old)", 4, 96, ["vmdisk1", "vmdisk2", "-"], 1),
    "vmware-vapp": ("node", 1, 128, ["system", "data"], 2),
    "virtualbox": ("desk top", 2, 128, ["/storage/isos/desk top-file002.iso", "vmdisk1"], 1),
    "virtualbox-2": ("két", 1, 64, ["vmdisk1"], 1),
    "early": ("early", 1, 64, ["1"], 1),
    "xenserver": ("domain controller", 2, 128, ["vhd-1"], 1),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_export_becomes_its_vm(name: str) -> None:
    found = vm(name)
    drives = [drive.image.disk.id if drive.image else drive.iso or "-" for drive in found.drives]
    assert (found.name, found.vcpus, found.memory_mib, drives, len(found.nics)) == EXPECTED[name]


def test_every_descriptor_is_tried() -> None:
    assert set(EXPECTED) == {path.stem for path in GOLDEN.glob("*.ovf")}


@pytest.mark.parametrize("name", ["vmware-esxi", "virtualbox"])
def test_efi_firmware_is_found_in_both_spellings(name: str) -> None:
    assert any("wants EFI firmware" in text for text in plan(name).warnings)


def test_the_small_configuration_is_taken_with_its_values() -> None:
    found = plan("vmware-vapp")
    assert [image.capacity for image in found.images] == [4 << 20, 2 << 20]
    assert found.licences == ("Use it well.",)
    assert found.vms[0].has_iso_transport
    passwords = [one.key for part in found.vms[0].products for one in part.properties if one.is_password]
    assert passwords == ["secret"]


def test_formats_are_known_by_their_addresses() -> None:
    found = {name: declared(plan(name).images[0].disk.format) for name in EXPECTED}
    assert found == dict.fromkeys(EXPECTED, Format.VMDK) | {"xenserver": Format.VHD}


def test_parts_of_their_own_are_passed_over_and_told_unless_marked() -> None:
    told = [(name, text) for name in EXPECTED for text in plan(name).warnings if "passed over" in text]
    assert told == [("vmware-esxi", "'vmw:BootOrderSection' is not understood and passed over")]


@given(st.sampled_from(sorted(EXPECTED)), st.data())
def test_a_damaged_export_becomes_a_plan_or_is_refused(name: str, data: st.DataObject) -> None:
    text = bytearray((GOLDEN / f"{name}.ovf").read_bytes())
    words = [
        b'"',
        b"<",
        b">",
        b"-1",
        b"999999999999999999999",
        b"/",
        b"../",
        b"${x}",
        b"",
        b"0",
        b"\xc3\xa9",
        b" ",
    ]
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 12))] = data.draw(st.sampled_from(words))
    try:
        plan_of(read_envelope(bytes(text)), Choices(lambda: "00000000-0000-0000-0000-000000000000"))
    except (BadRequest, NotSupported):
        pass
