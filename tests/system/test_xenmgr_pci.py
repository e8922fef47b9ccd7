# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI rules from the bus to the guest on the simulated host; a device that changed is never handed over."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from xenmgr_house import Desk, desk, refused

from openxt_api.xenmgr_vm import XENMGR_VM_PCI
from openxt_api.xenmgr_vm_devices import XENMGR_VM_DEVICES

NIC = "0000:00:10.0"
NICS = {"0": {"class": "0x0200"}}


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


def plug(it: Desk, address: str, vendor: str = "0x8086", pci_class: str = "0x020000") -> None:
    """A device as xenmgr sees it in sysfs, and as the simulated host gives it away."""
    device = it.places.at("/sys/bus/pci/devices") / address
    device.mkdir(parents=True, exist_ok=True)
    for name, value in (("vendor", vendor), ("device", "0x10d3"), ("class", pci_class)):
        (device / name).write_text(f"{value}\n")
    given = it.places.run / "xenvm/dom0/pci" / address
    given.mkdir(parents=True, exist_ok=True)
    (given / "driver").write_text("e1000")
    (given / "resource").write_text("0xfebc0000 0xfebdffff 0x40200\n")
    (given / "irq").write_text("11\n")


def config_lines(it: Desk, path: str) -> list[str]:
    lines = it.places.xenvm_config(it.uuid(path)).read_text().splitlines()
    return [line for line in lines if line.startswith("pci=")]


async def changed(it: Desk, path: str) -> list[str]:
    found: list[dict[str, Any]] = await it.call(path, XENMGR_VM_DEVICES.name, "changed_devices")
    return [device["addr"] for device in found]


async def confirm(it: Desk, path: str, *addresses: str) -> None:
    await it.call(path, XENMGR_VM_DEVICES.name, "confirm_devices", "as", list(addresses))


async def test_a_device_goes_to_the_guest_and_its_swapped_successor_only_when_confirmed(it: Desk) -> None:
    plug(it, NIC)
    path = await it.create(pci=NICS, **{"virt-type": "pv"})
    (listed,) = await it.call(path, XENMGR_VM_PCI.name, "list_pt_pci_devices")
    assert (listed["addr"], listed["class"], listed["vendor-id"]) == (NIC, "0x200", "0x8086")
    await it.vm(path, "start")
    assert config_lines(it, path) == [f"pci=0,bind,{NIC}"]
    domid = await it.get(path, "domid")
    assert await it.house.xenstore.read(f"/local/domain/0/backend/pci/{domid}/0/dev-0") is not None
    await it.vm(path, "destroy")

    plug(it, NIC, vendor="0x14e4")
    assert "now means" in await it.fails(it.vm(path, "start"))
    assert it.domids(path) == []
    assert await changed(it, path) == [NIC]
    assert NIC in await it.fails(confirm(it, path, "0000:00:11.0"))
    assert await changed(it, path) == [NIC]
    await confirm(it, path, NIC)
    assert await changed(it, path) == []
    await it.vm(path, "start")
    assert config_lines(it, path) == [f"pci=0,bind,{NIC}"]


async def test_a_record_that_cannot_be_read_allows_nothing(it: Desk) -> None:
    plug(it, NIC)
    path = await it.create(pci=NICS)
    await it.db("write", f"/xenmgr/pci-seen/{it.uuid(path)}", "{broken")
    assert "now means" in await it.fails(it.vm(path, "start"))
    assert await changed(it, path) == [NIC]


async def test_an_absent_device_stops_the_start_and_stays_out_of_lists(it: Desk) -> None:
    path = await it.create(pci={"0": {"bdf": NIC}})
    assert await it.call(path, XENMGR_VM_PCI.name, "list_pt_pci_devices") == []
    assert (await it.fails(it.vm(path, "start"))).startswith(refused(203))


async def test_a_starting_xenmgr_has_pciback_take_the_devices_of_greedy_vms(it: Desk) -> None:
    plug(it, NIC, pci_class="0x0c0330")  # no network card: the network VM would have it
    plug(it, "0000:00:11.0", pci_class="0x0c0330")
    pciback = it.places.at("/sys/bus/pci/drivers/pciback")
    pciback.mkdir(parents=True)
    await it.create(pci={"0": {"bdf": NIC}})
    shy = await it.create(pci={"0": {"bdf": "0000:00:11.0"}})
    await it.set(shy, "greedy-pciback-bind", "b", False)
    await it.restart()
    assert (pciback / "new_slot").read_text() == NIC


async def test_a_graphics_card_by_its_address_comes_with_its_slot_and_nothing_is_stored(it: Desk) -> None:
    card, sound, neighbour = "0000:01:00.0", "0000:01:00.1", "0000:01:01.0"
    for address, pci_class in ((card, "0x030000"), (sound, "0x040300"), (neighbour, "0x030000")):
        plug(it, address, vendor="0x10de", pci_class=pci_class)
    path = await it.create(**{"virt-type": "pv"})
    await it.set(path, "gpu", "s", card)
    await it.vm(path, "start")
    assert config_lines(it, path) == [f"pci=0,bind,{card}", f"pci=0,bind,{sound}"]
    assert await it.call(path, XENMGR_VM_PCI.name, "list_pt_rules") == []
    await it.vm(path, "destroy")
    plug(it, card, vendor="0x1002", pci_class="0x030000")
    assert "now means" in await it.fails(it.vm(path, "start"))
    await confirm(it, path, card)
    await it.vm(path, "start")


async def test_a_graphics_card_that_is_gone_or_is_intels_second_one_stops_the_start(it: Desk) -> None:
    path = await it.create(**{"virt-type": "pv"})
    await it.set(path, "gpu", "s", "0000:01:00.0")
    assert (await it.fails(it.vm(path, "start"))).startswith(refused(203))
    plug(it, "0000:01:00.0", pci_class="0x030000")
    assert (await it.fails(it.vm(path, "start"))).startswith(refused(231))
    (it.places.at("/sys/bus/pci/devices/0000:01:00.0/boot_vga")).write_text("1\n")
    await it.vm(path, "start")


async def test_a_device_of_a_running_vm_is_not_given_to_another(it: Desk) -> None:
    plug(it, NIC)
    first, second = [await it.create(pci=NICS, **{"virt-type": "pv"}) for _ in range(2)]
    await it.set(first, "type", "s", "ndvm")
    await it.vm(first, "start")
    text = await it.fails(it.vm(second, "start"))
    assert text.startswith(refused(230))
    assert f'"{NIC}"' in text
    await it.vm(first, "destroy")
    await it.vm(second, "start")
