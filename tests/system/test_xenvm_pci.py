# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI devices, I/O ports and device memory given to guests, on the simulated host."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from xenvm_house import OTHER, START, House, open_house

from openxt_core.errors import RemoteError
from openxt_core.ids import Domid
from openxt_xen.xenstore import paths

NIC = "0000:00:10.0"
GRANTED = [("frames", 0xFEBC0, 32), ("interrupts", 11, 1), ("ports", 0xC000, 64)]


@pytest.fixture
async def house(bus_address: str) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="xenvm") as folder:
        async with open_house(Path(folder), bus_address) as opened:
            yield opened


async def running(house: House, *lines: str) -> Domid:
    await house.monitor(house.config("virt-type = pv", *lines))
    await house.call("start")
    await house.hear(*START)
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    return domid


async def uses(house: House, domid: Domid, devid: int) -> None:
    state = paths.state(paths.backend(Domid(0), "pci", domid, devid))
    await house.store.wait_until(state, lambda value: value == "4", 10)


async def test_a_device_goes_to_the_guest_and_is_reset_before_and_after(house: House) -> None:
    device, before = house.pci(NIC), await house.nodes()
    domid = await running(house, f"pci = 0,bind,{NIC},guest_slot=3", "pci-msitranslate = 0")
    await uses(house, domid, 0)
    back = paths.backend(Domid(0), "pci", domid, 0)
    told = {key: await house.store.read(f"{back}/{key}") for key in ("dev-0", "num_devs", "msitranslate")}
    assert told == {"dev-0": f"{NIC}@03", "num_devs": "1", "msitranslate": "0"}
    assert house.xen.allowed(domid) == GRANTED
    assert (device / "driver").read_text() == "pciback"
    assert (device / "resets").read_text() == "x"
    assert "0 | 0 | 16 | 0 | y | -1 | -1 | 3" in str(await house.call("pci_list"))
    await house.call("halt")
    assert (device / "resets").read_text() == "xx"
    assert (device / "driver").read_text() == "pciback"
    assert await house.nodes() == before


async def test_a_device_comes_and_goes_while_the_guest_runs(house: House) -> None:
    device = house.pci(NIC)
    domid = await running(house)
    before = await house.nodes()
    given = {"domain": "0", "bus": "0", "slot": "16", "func": "0"}
    await house.call("pci_add", id="0", **given)
    await uses(house, domid, 0)
    assert house.xen.allowed(domid) == GRANTED
    await house.call("pci_del", **given)
    assert house.xen.allowed(domid) == []
    assert (device / "resets").read_text() == "xx"
    assert await house.nodes() == before
    await house.call("device", type="pci", cmd="add", extra=f"0,bind,{NIC}")
    assert "bus:0, slot: 16, func: 0" in str(await house.call("device", type="pci", cmd="list"))
    await house.call("device", type="pci", cmd="del", extra=NIC)
    assert await house.nodes() == before


async def test_a_failed_start_gives_the_device_back_to_its_driver(house: House) -> None:
    device, before = house.pci(NIC), await house.nodes()
    await house.monitor(house.config("virt-type = pv", f"pci = 0,bind,{NIC}"))
    house.xen.fail_next("map_interrupt", 22)
    with pytest.raises(RemoteError, match="map_interrupt: EINVAL"):
        await house.call("start")
    assert (device / "driver").read_text() == "e1000"
    assert house.domids() == []
    assert await house.nodes() == before


async def test_all_reasons_against_a_device_are_told(house: House) -> None:
    house.pci(NIC)
    await house.monitor(house.config("pci = 0,bind,0000:00:11.0", "pci = 1,bind,0000:00:11.0"))
    with pytest.raises(RemoteError) as caught:
        await house.call("start")
    for text in (
        "pci 0000:00:11.0: is given twice",
        "pci 0000:00:11.0: the host has no such device",
        "pci: Xen 4.17 gives PCI devices to pv and hvm domains only",
    ):
        assert text in str(caught.value)


async def test_a_device_that_dom0_uses_is_not_taken_unasked(house: House) -> None:
    house.pci(NIC)
    await house.monitor(house.config("virt-type = pv", f"pci = 0,{NIC}"))
    with pytest.raises(RemoteError, match=r"Cannot_use_pci_with_no_pciback.*0000:00:10\.0 belongs to e1000"):
        await house.call("start")


async def test_a_device_of_another_domain_is_refused(house: House) -> None:
    house.pci(NIC)
    domid = await running(house, f"pci = 0,bind,{NIC}")
    await uses(house, domid, 0)
    house.launch("--config", str(house.config("virt-type = pv", f"pci = 0,bind,{NIC}", uuid=OTHER)))
    await house.until(lambda: _serves(house))
    with pytest.raises(RemoteError, match=rf"pci 0000:00:10\.0: domain {domid} has it"):
        await house.call("start", OTHER)


async def _serves(house: House) -> bool:
    try:
        return await house.call("get_domid", OTHER) == "-1"
    except RemoteError:
        return False


async def test_ports_and_memory_are_allowed_to_the_last(house: House) -> None:
    domid = await running(house, "passthrough-io = 0x3f8-0x3ff", "passthrough-mmio = 0xfed00000-0xfed01fff")
    assert house.xen.allowed(domid) == [("frames", 0xFED00, 2), ("ports", 0x3F8, 8)]


async def test_a_tpm_has_its_nodes(house: House) -> None:
    before = await house.nodes()
    domid = await running(house, "vtpm-instance = 3")
    back = f"{paths.backends(Domid(0))}/vtpm/{domid}/0"
    assert await house.store.read(f"{back}/pref_instance") == "3"
    assert await house.store.read(f"{back}/resume") == "False"
    await house.call("destroy")
    assert await house.nodes() == before
