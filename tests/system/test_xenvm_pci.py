# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI devices, I/O ports and device memory given to guests, on the simulated host."""

import errno
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from xenvm_house import OTHER, UUID, House, open_house

from effort import effort
from openxt_core.errors import OpenxtError, RemoteError
from openxt_core.ids import Domid
from openxt_xen.hypervisor import DomainSpec, Kind, XenError
from openxt_xen.xenstore import paths
from openxt_xenvm.config.lines import read_pci_address
from openxt_xenvm.config.model import PciAddress
from openxt_xenvm.devices.pci import number_of
from openxt_xenvm.dm.monitor_socket import open_monitor
from openxt_xenvm.dom0 import processes

NIC = "0000:00:10.0"
GRANTED = [("frames", 0xFEBC0, 32), ("interrupts", 11, 1), ("ports", 0xC000, 64)]


@pytest.fixture
async def with_iommu(bus_address: str) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="xenvm") as folder:
        async with open_house(Path(folder), bus_address, "--iommu") as opened:
            yield opened
            processes.end(str(opened.root / f"var/run/xenvm/qemu-{UUID}"), 5)


async def running(house: House, *lines: str) -> Domid:
    return await house.running("virt-type = pv", *lines)


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


OTHER_NIC = "0000:00:11.0"


def second(house: House, frames: str = "0xfec00000 0xfec0ffff", irq: int = 20) -> Path:
    """Another device of the host."""
    device = house.pci(OTHER_NIC)
    (device / "resource").write_text(f"{frames} 0x40200\n")
    (device / "irq").write_text(f"{irq}\n")
    return device


async def group_of(house: House, domid: Domid) -> dict[str, str | None]:
    """What pciback knows of the guest's devices, and its state."""
    nodes = await house.nodes(paths.backend(Domid(0), "pci", domid, 0))
    found = {path.rpartition("/")[2]: value for path, value in nodes.items()}
    return {key: value for key, value in found.items() if key.startswith(("dev-", "state"))}


async def test_a_device_joins_others_and_leaves_them_as_they_are(house: House) -> None:
    first, other = house.pci(NIC), second(house)
    domid = await running(house, f"pci = 0,bind,{NIC}")
    await uses(house, domid, 0)
    before, resets = await group_of(house, domid), (first / "resets").read_text()
    for forced in ("false", "true"):
        await house.call("device", type="pci", cmd="add", extra=f"0,{OTHER_NIC},guest_slot=7")
        joined = {"dev-1": f"{OTHER_NIC}@07", "state-1": "3"}
        assert await group_of(house, domid) == before | joined
        assert house.xen.allowed(domid) == sorted([*GRANTED, ("frames", 0xFEC00, 16), ("interrupts", 20, 1)])
        await house.call("pci_del", domain="0", bus="0", slot="17", func="0", forced=forced)
        assert await group_of(house, domid) == before
        assert house.xen.allowed(domid) == GRANTED
        assert "slot: 17" not in str(await house.call("device", type="pci", cmd="list"))
    assert (first / "resets").read_text() == resets
    assert (other / "driver").read_text() == "pciback"


async def test_the_first_of_two_can_go_and_come_back(house: House) -> None:
    house.pci(NIC)
    second(house)
    domid = await running(house, f"pci = 0,bind,{NIC}", f"pci = 0,bind,{OTHER_NIC}")
    await uses(house, domid, 0)
    await house.call("device", type="pci", cmd="del", extra=NIC)
    assert await group_of(house, domid) == {"dev-1": OTHER_NIC, "state-1": "3", "state": "4"}
    await house.call("device", type="pci", cmd="add", extra=f"0,bind,{NIC}")
    found = await group_of(house, domid)
    assert {found["dev-1"], found["dev-2"], found["state"]} == {NIC, OTHER_NIC, "4"}
    await house.call("device", type="pci", cmd="del", extra=OTHER_NIC)
    await house.call("device", type="pci", cmd="del", extra=NIC)
    assert await group_of(house, domid) == {}
    assert house.xen.allowed(domid) == []


async def test_a_device_that_cannot_join_leaves_the_others_as_they_are(house: House) -> None:
    first, other = house.pci(NIC), second(house)
    domid = await running(house, f"pci = 0,bind,{NIC}")
    await uses(house, domid, 0)
    before, resets = await group_of(house, domid), (first / "resets").read_text()
    house.xen.fail_next("map_interrupt", 22)
    with pytest.raises(RemoteError, match="map_interrupt: EINVAL"):
        await house.call("device", type="pci", cmd="add", extra=f"0,bind,{OTHER_NIC}")
    assert await group_of(house, domid) == before
    assert house.xen.allowed(domid) == GRANTED
    assert (first / "resets").read_text() == resets
    assert (other / "driver").read_text() == "e1000"


async def test_what_devices_share_stays_with_those_that_stay(house: House) -> None:
    """An interrupt line, and a page that holds registers of both."""
    house.pci(NIC)
    second(house, "0xfebdf800 0xfebe0fff", irq=11)
    domid = await running(house, f"pci = 0,bind,{NIC}", f"pci = 0,bind,{OTHER_NIC}")
    await uses(house, domid, 0)
    assert house.xen.allowed(domid)[0] == ("frames", 0xFEBC0, 33)
    await house.call("device", type="pci", cmd="del", extra=OTHER_NIC)
    assert house.xen.allowed(domid) == GRANTED


async def test_a_guest_that_does_not_answer_keeps_its_devices_and_may_answer_late(house: House) -> None:
    """A paused guest answers nothing."""
    house.pci(NIC)
    second(house)
    await house.monitor(
        house.config("virt-type = pv", f"pci = 0,bind,{NIC}", f"pci = 0,bind,{OTHER_NIC}"),
        XENVM_UNPLUG_S="0.1",
    )
    await house.call("start")
    (domid,) = house.domids()
    await uses(house, domid, 0)
    before, granted = await group_of(house, domid), house.xen.allowed(domid)
    given = {"domain": "0", "bus": "0", "slot": "17", "func": "0"}
    await house.call("pause")
    for forced in ("false", "true"):
        with pytest.raises(RemoteError, match=r"Device_timeout.*one device of several cannot be forced"):
            await house.call("pci_del", forced=forced, **given)
    assert house.xen.allowed(domid) == granted
    assert "slot: 17" in str(await house.call("device", type="pci", cmd="list"))
    await house.call("unpause")
    await uses(house, domid, 0)
    await house.call("pci_del", **given)
    assert await group_of(house, domid) == {key: before[key] for key in ("dev-0", "state-0", "state")}
    assert house.xen.allowed(domid) == GRANTED


async def test_a_device_that_the_guest_does_not_take_is_withdrawn(house: House) -> None:
    house.pci(NIC)
    other = second(house)
    await house.monitor(house.config("virt-type = pv", f"pci = 0,bind,{NIC}"), XENVM_UNPLUG_S="0.1")
    await house.call("start")
    (domid,) = house.domids()
    await uses(house, domid, 0)
    before = await group_of(house, domid)
    await house.call("pause")
    with pytest.raises(RemoteError, match="Device_timeout"):
        await house.call("device", type="pci", cmd="add", extra=f"0,bind,{OTHER_NIC}")
    assert house.xen.allowed(domid) == GRANTED
    assert (other / "driver").read_text() == "e1000"
    await house.call("unpause")
    await uses(house, domid, 0)
    assert await group_of(house, domid) == before


async def test_a_group_that_the_guest_has_not_taken_up_does_not_change(house: House) -> None:
    house.pci(NIC)
    other = second(house)
    config = house.config("virt-type = pv", f"pci = 0,bind,{NIC}", cmdline="sim.boot=hang")
    await house.monitor(config, XENVM_UNPLUG_S="0.1")
    await house.call("start")
    with pytest.raises(RemoteError, match="the guest does not answer for pci 0"):
        await house.call("device", type="pci", cmd="add", extra=f"0,bind,{OTHER_NIC}")
    assert (other / "driver").read_text() == "e1000"
    assert not (other / "resets").exists()


# With an IOMMU


def is_assigned(house: House, address: PciAddress) -> bool:
    """Xen gives no device to a second domain."""
    domid = house.xen.create_domain(DomainSpec(OTHER, Kind.PV, 1, iommu=True))
    try:
        house.xen.assign_device(domid, number_of(address))
    except XenError as error:
        return error.errno == errno.EBUSY
    finally:
        house.xen.destroy_domain(domid)
    return False


async def test_the_iommu_lets_a_pv_guests_device_reach_its_memory(with_iommu: House) -> None:
    house = with_iommu
    house.pci(NIC)
    second(house)
    domid = await running(house, f"pci = 0,bind,{NIC}")
    await uses(house, domid, 0)
    assert is_assigned(house, read_pci_address(NIC))
    await house.call("device", type="pci", cmd="add", extra=f"0,bind,{OTHER_NIC}")
    assert is_assigned(house, read_pci_address(OTHER_NIC))
    await house.call("device", type="pci", cmd="del", extra=OTHER_NIC)
    assert not is_assigned(house, read_pci_address(OTHER_NIC))
    assert is_assigned(house, read_pci_address(NIC))
    await house.call("destroy")
    assert not is_assigned(house, read_pci_address(NIC))


async def test_a_guest_that_was_made_without_the_iommu_gets_its_first_device_at_a_start(
    with_iommu: House,
) -> None:
    device, domid = with_iommu.pci(NIC), await running(with_iommu)
    before = await with_iommu.nodes()
    with pytest.raises(RemoteError, match=r"pci 0000:00:10\.0: domain 1 had no PCI device when it was made"):
        await with_iommu.call("device", type="pci", cmd="add", extra=f"0,bind,{NIC}")
    assert (device / "driver").read_text() == "e1000"
    assert with_iommu.xen.allowed(domid) == []
    assert await with_iommu.nodes() == before


HVM = ("virt-type = hvm", "kernel =", "qemu-dm-path = /usr/sbin/svirt-interpose", "display = none")


async def test_qemu_shows_an_hvm_guest_its_devices(with_iommu: House) -> None:
    house = with_iommu
    house.pci(NIC)
    before = await house.nodes()
    await house.monitor(house.config(*HVM, f"pci = 0,bind,{NIC},guest_slot=7"))
    await house.call("start")
    (domid,) = house.domids()
    assert is_assigned(house, read_pci_address(NIC))
    assert house.xen.allowed(domid) == GRANTED
    async with open_monitor(house.root / f"var/run/xenvm/qemu-{UUID}", 10) as qmp:
        (bus,) = await qmp.do("query-pci")
    assert [device["qdev_id"] for device in bus["devices"]] == ["pci-0000_00_10.0"]
    await house.call("destroy")
    assert not is_assigned(house, read_pci_address(NIC))
    assert await house.nodes() == before


async def test_devices_do_not_come_or_go_while_an_hvm_guest_runs(with_iommu: House) -> None:
    house = with_iommu
    house.pci(NIC)
    other = second(house)
    await house.monitor(house.config(*HVM, f"pci = 0,bind,{NIC}"))
    await house.call("start")
    (domid,) = house.domids()
    resets = (house.pci(NIC) / "resets").read_text()
    for group in (0, 1):
        with pytest.raises(RemoteError, match="while an HVM domain runs: not built yet"):
            await house.call("device", type="pci", cmd="add", extra=f"{group},bind,{OTHER_NIC}")
    with pytest.raises(RemoteError, match="while an HVM domain runs: not built yet"):
        await house.call("device", type="pci", cmd="del", extra=NIC)
    assert (other / "driver").read_text() == "e1000"
    assert house.xen.allowed(domid) == GRANTED
    assert (house.pci(NIC) / "resets").read_text() == resets
    await house.call("destroy")
    await house.call("device", type="pci", cmd="add", extra=f"1,bind,{OTHER_NIC}")
    await house.call("start")
    assert is_assigned(house, read_pci_address(OTHER_NIC))


# Killed

DYING = str(Path(__file__).with_name("dying_xenvm.py"))


@pytest.mark.proof
@pytest.mark.parametrize("cmd", ["add", "del"])
async def test_killed_while_a_group_changes_the_next_monitor_leaves_the_others_alone(
    house: House, cmd: str
) -> None:
    first = house.pci(NIC)
    second(house)
    lines = (
        "virt-type = pv",
        f"pci = 0,bind,{NIC}",
        *([f"pci = 0,bind,{OTHER_NIC}"] if cmd == "del" else []),
    )
    extra, deaths, armed = f"0,bind,{OTHER_NIC}" if cmd == "add" else OTHER_NIC, 0, house.root / "armed"
    while True:
        armed.unlink(missing_ok=True)
        dying = house.launch_program([DYING, str(deaths + 1), str(armed)], house.config(*lines))
        await house.hear("ping", "dbus-rpc-up")
        await house.call("start")
        (domid,) = house.domids()
        await house.guest_is_up(domid)
        await uses(house, domid, 0)
        resets = (first / "resets").read_text()
        armed.touch()
        try:
            await house.call("device", type="pci", cmd=cmd, extra=extra)
            break
        except OpenxtError:
            deaths += effort(2, 1)
        await house.gone(dying)
        house.silence()
        await house.monitor(house.config(*lines))
        await house.hear("running")
        await house.call("unpause")
        listed = "slot: 17" in str(await house.call("device", type="pci", cmd="list"))
        assert (OTHER_NIC in (await group_of(house, domid)).values()) is listed
        assert (("interrupts", 20, 1) in house.xen.allowed(domid)) is listed
        assert set(GRANTED) <= set(house.xen.allowed(domid))
        assert (first / "resets").read_text() == resets
        for task in ("destroy", "quit"):
            await house.call(task)
        await house.gone(house.monitors[-1])
        house.silence()
    assert deaths > 1


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
