# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI devices: what sysfs says of them, how Xen counts them, and sysfs itself as a tree of files."""

from pathlib import Path

import pytest

from openxt_xenvm.config.model import DomainConfig, PciAddress, PciDevice
from openxt_xenvm.devices.pci import Resource, groups, left_of, number_of, resources
from openxt_xenvm.dom0.pci import PciFolder
from openxt_xenvm.errors import DeviceError

NIC = PciAddress(0, 0, 0x10, 0)
RESOURCE = """\
0x00000000febc0000 0x00000000febdffff 0x0000000000040200
0x000000000000c000 0x000000000000c03f 0x0000000000040101
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x00000000fea00800 0x00000000fea017ff 0x0000000000046200
0x0000000012345000 0x0000000012345fff 0x0000000000040200
"""


def test_what_a_device_uses_is_its_bars_and_its_rom() -> None:
    found = list(resources(RESOURCE))
    assert found == [
        Resource(0xFEBC0000, 0xFEBDFFFF, False),
        Resource(0xC000, 0xC03F, True),
        Resource(0xFEA00800, 0xFEA017FF, False),
    ]
    assert found[0].frames == (0xFEBC0, 32)
    assert found[2].frames == (0xFEA00, 2)  # two pages, though no more than one in size


@pytest.mark.parametrize(
    ("others", "left"),
    [
        ([], [(0x10000, 0x14FFF)]),
        ([(0x10000, 0x14FFF)], []),
        ([(0x0, 0xFFFFFF)], []),
        ([(0x12800, 0x12FFF)], [(0x10000, 0x11FFF), (0x13000, 0x14FFF)]),  # a part of a page: all of it
        ([(0xF000, 0x10000), (0x14FFF, 0x20000)], [(0x11000, 0x13FFF)]),
        ([(0x15000, 0x15FFF)], [(0x10000, 0x14FFF)]),
    ],
)
def test_what_others_use_too_is_cut_out(others: list[tuple[int, int]], left: list[tuple[int, int]]) -> None:
    used = [Resource(first, last, False) for first, last in others] + [Resource(0, 0xFFFF, True)]
    found = left_of(Resource(0x10000, 0x14FFF, False), used)
    assert [(part.first, part.last) for part in found] == left


@pytest.mark.parametrize(
    ("address", "number"),
    [
        (PciAddress(0, 0, 0x10, 0), 0x80),
        (PciAddress(0, 2, 0, 1), 0x201),
        (PciAddress(1, 0xFF, 31, 7), 0x1FFFF),
    ],
)
def test_xen_counts_devices_by_segment_bus_slot_and_function(address: PciAddress, number: int) -> None:
    assert number_of(address) == number


def test_options_of_a_group_are_those_of_its_first_device_or_the_config() -> None:
    config = DomainConfig(
        pci=(PciDevice(1, NIC, msitranslate=0), PciDevice(0, NIC), PciDevice(1, NIC, msitranslate=1)),
        pci_power_management=0,
    )
    assert [(pci.devid, len(pci.members), pci.msitranslate, pci.power_mgmt) for pci in groups(config)] == [
        (1, 2, 0, 0),
        (0, 1, 1, 0),
    ]


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """As sysfs looks; what is written there does nothing."""
    device = tmp_path / "bus/pci/devices" / str(NIC)
    driver = tmp_path / "bus/pci/drivers/e1000"
    for folder in (device, driver):
        folder.mkdir(parents=True)
    (device / "driver").symlink_to(driver)
    (device / "resource").write_text(RESOURCE)
    (device / "irq").write_text("11\n")
    (driver / "unbind").touch()
    return tmp_path


def test_a_host_without_the_device_or_pciback_says_so(sys: Path) -> None:
    folder = PciFolder(sys)
    assert folder.problem(PciAddress(0, 9, 9, 0)) == "the host has no such device"
    assert "modprobe xen-pciback" in folder.problem(NIC)
    (sys / "bus/pci/drivers/pciback").mkdir()
    assert folder.problem(NIC) == ""


def test_a_device_is_taken_from_its_driver_and_offered_to_pciback(sys: Path) -> None:
    pciback = sys / "bus/pci/drivers/pciback"
    pciback.mkdir()
    folder = PciFolder(sys)
    assert folder.driver(NIC) == "e1000"
    folder.hide(NIC)
    assert (sys / "bus/pci/drivers/e1000/unbind").read_text() == str(NIC)
    assert (pciback / "new_slot").read_text() == (pciback / "bind").read_text() == str(NIC)
    folder.give_back(NIC, "e1000")
    assert (sys / "bus/pci/drivers/e1000/bind").read_text() == str(NIC)
    assert folder.hardware(NIC).irq == 11


def test_a_domain_may_switch_interrupts_or_on_older_kernels_everything(sys: Path) -> None:
    pciback = sys / "bus/pci/drivers/pciback"
    pciback.mkdir()
    PciFolder(sys).allow_interrupts(NIC)
    assert (pciback / "permissive").read_text() == str(NIC)
    (pciback / "permissive").unlink()
    (pciback / "allow_interrupt_control").touch()
    PciFolder(sys).allow_interrupts(NIC)
    assert (pciback / "allow_interrupt_control").read_text() == str(NIC)
    assert not (pciback / "permissive").exists()


def test_a_device_that_cannot_be_reset_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"0000:00:10\.0/reset"):
        PciFolder(tmp_path).reset(NIC)
