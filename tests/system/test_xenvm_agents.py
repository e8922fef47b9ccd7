# SPDX-License-Identifier: GPL-2.0-or-later
"""dm-agents run the device models of HVM domains, on the simulated host.  The agent is played by the test."""

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from xenvm_house import OTHER, START, UUID, House, open_house

from openxt_core.errors import OpenxtError, RemoteError
from openxt_core.ids import Domid, Uuid, xenvm_name
from openxt_sim.tree import Node, Rights, Tree
from openxt_xen.hypervisor import DomainSpec, Kind
from openxt_xen.xenstore.wire import Permission
from openxt_xenvm.dom0 import processes

HVM = ("virt-type = hvm", "kernel =", "qemu-dm-path = /any", "display = none", "acpi = true")
AGENT = "/local/domain/0/dm-agent"
DYING = str(Path(__file__).with_name("dying_xenvm.py"))
DEVICES = ("xenmou", "xen_acpi_pm", "xen_pci_pt", "acpi", "drive", "net", "serial")


@pytest.fixture
async def house(bus_address: str) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="xenvm") as folder:
        async with open_house(Path(folder), bus_address) as opened:
            yield opened
            processes.end(str(opened.root / f"var/run/xenvm/qemu-{OTHER}"), 5)


@asynccontextmanager
async def agent(house: House, *devices: str, answer: str = "running") -> AsyncIterator[None]:
    """Offers one device model with these devices, says `answer` to each request, ends all when told to."""
    for device in devices:
        await house.store.mkdir(f"{AGENT}/capabilities/qemu/{device}")
    await house.store.mkdir(f"{AGENT}/dms")
    changed: asyncio.Queue[str] = asyncio.Queue()
    watch = await house.store.watch(f"{AGENT}/dms", changed.put_nowait)
    playing = asyncio.create_task(_play(house, changed, answer))
    try:
        yield
    finally:
        playing.cancel()
        await watch.close()
        await house.store.rm(AGENT)


async def _play(house: House, changed: "asyncio.Queue[str]", answer: str) -> None:
    while True:
        words = (await changed.get()).removeprefix(f"{AGENT}/dms/").split("/")
        domain = f"{AGENT}/dms/{words[0]}"
        if words[1:] == ["destroy"]:
            await house.store.rm(domain)
        elif words[2:3] == ["infos"] and not await house.store.read(f"{domain}/{words[1]}/status"):
            await house.store.write(f"{domain}/{words[1]}/status", answer)


async def test_an_agent_is_told_all_devices_and_then_ends_them(house: House) -> None:
    house.bridge("br0")
    disk = house.file("disk")
    lines = (
        f"disk = {disk}:file:hda:w:disk:",
        "vif = bridge=br0,mac=00:16:3e:01:02:03",
        "boot = c",
        "serial = pty",
    )
    async with agent(house, *DEVICES):
        before = await house.nodes()
        await house.monitor(house.config(*HVM, *lines, "boot = c", "serial = pty"))
        await house.call("start")
        await house.hear_states(*START)
        (domid,) = house.domids()
        found = await house.nodes(f"{AGENT}/dms/{domid}/0/infos")
        told = {path.rsplit("/infos/", 1)[1]: value for path, value in found.items() if value}
        assert told == {
            "xenmou/type": "xenmou",
            "xen_acpi_pm/type": "xen_acpi_pm",
            "acpi/type": "acpi",
            "serial/type": "serial",
            "serial/device": "pty",
            "disk0/type": "drive",
            "disk0/file": str(disk),
            "disk0/media": "disk",
            "disk0/format": "file",
            "disk0/index": "0",
            "disk0/readonly": "off",
            "net0/type": "net",
            "net0/model": "rtl8139",
            "net0/mac": "00:16:3e:01:02:03",
            "net0/bridge": "br0",
            "net0/id": "0",
            "net0/name": "vif0",
        }
        assert await house.store.read(f"/local/domain/{domid}/boot_order") == "c"
        await house.call("destroy")
        assert await house.nodes() == before


async def test_an_agent_of_dom0_is_given_the_device_that_an_image_is_opened_as(house: House) -> None:
    async with agent(house, *DEVICES):
        await house.monitor(house.config(*HVM, f"disk = {house.file('disk.vhd')}:vhd:hda:w:disk:"))
        await house.call("start")
        (domid,) = house.domids()
        infos = f"/local/domain/0/dm-agent/dms/{domid}/0/infos/disk0"
        assert list(house.attached()) == ["images/0"]
        assert await house.store.read(f"{infos}/file") == "/dev/nbd0"
        assert await house.store.read(f"{infos}/format") == "raw"


async def test_a_device_that_no_agent_has_is_named_and_nothing_is_left(house: House) -> None:
    async with agent(house, "xenmou", "xen_acpi_pm"):
        before = await house.nodes()
        await house.monitor(house.config(*HVM))
        with pytest.raises(RemoteError, match='"no dm-agent provides xen_pci_pt, acpi"'):
            await house.call("start")
        assert house.domids() == []
        assert await house.nodes() == before


async def test_an_agent_that_fails_costs_the_start(house: House) -> None:
    async with agent(house, *DEVICES, answer="broken"):
        before = await house.nodes()
        await house.monitor(house.config(*HVM))
        with pytest.raises(RemoteError, match=r"Ioemu_failed.*qemu of the dm-agent in domain 0: 'broken'"):
            await house.call("start")
        assert house.domids() == []
        assert await house.nodes() == before


STUBDOM = "00000000-0000-0000-0000-0000000000d0"


def stubbed(house: House) -> tuple[str, ...]:
    kernel = house.file("stub-kernel")
    kernel.write_text("a kernel")
    return (*HVM, f"stubdom = {STUBDOM}", "stubdom-initrd =", f"stubdom-kernel = {kernel}")


def stubs(house: House) -> list[Domid]:
    return house.domids(Uuid(STUBDOM))


async def allow_to_talk(house: House) -> None:
    """What xenmgr does when the rules for v4v stand."""
    await house.until(lambda: len(house.domids()) == 1 and len(stubs(house)) == 1)
    await house.store.write(f"/local/domain/{house.domids()[0]}/v4v-firewall-ready", "1")


async def test_a_stub_domain_runs_the_device_model_and_ends_with_its_guest(house: House) -> None:
    before = await house.nodes()
    disk = house.file("disk")
    house.bridge("br0")
    lines = (f"disk = {disk}:file:hda:w:disk:", "vif = bridge=br0,mac=00:16:3e:01:02:03")
    await house.monitor(house.config(*stubbed(house), *lines))
    starting = asyncio.create_task(house.call("start"))
    await allow_to_talk(house)
    await starting
    await house.hear_states(*START)
    (domid,), (stub,) = house.domids(), stubs(house)
    assert await house.call("get_stubdomid") == str(stub)
    read = house.store.read
    assert await read(f"/local/domain/{domid}/image/device-model-domid") == str(stub)
    assert await read(f"/local/domain/{stub}/target") == str(domid)
    assert await read(f"/local/domain/{stub}/name") == f"stubdom-{domid}"
    infos = f"/local/domain/{stub}/dm-agent/dms/{domid}/0/infos"
    assert await read(f"{infos}/disk0/file") == "/dev/xvda"
    assert await read(f"/local/domain/{stub}/device/vif/0/mac") == "02:16:3e:01:02:03"
    assert await read(f"/local/domain/0/backend/vbd/{stub}/768/params") == "/dev/loop0"
    assert await read(f"/local/domain/0/backend/vbd/{domid}/768/params") == "/dev/hda"
    assert await read(f"/local/domain/0/backend/vbd/{domid}/768/type") == "phy"
    permissions = house.store.get_permissions
    assert (await permissions(f"/local/domain/{domid}/power-state"))[1].domid == stub
    await house.call("destroy")
    assert house.domids() == stubs(house) == []
    assert house.loops() == {}
    assert await house.nodes() == before


async def test_a_stub_domain_may_tell_how_its_guests_clock_moves(house: House) -> None:
    domid, stub = await started(house)
    assert await house.store.read(f"/vm/{UUID}/rtc/timeoffset") == "0"
    perms = await house.store.get_permissions(f"/vm/{UUID}/rtc/timeoffset")
    assert perms[0] == Permission(Domid(0), "n")
    rights = Rights(stub, privileged=False, target=domid)  # of which xenstored takes the first that fits
    assert Tree().may(rights, Node(tuple(perms), 0)) == "rw"
    assert Tree().may(Rights(domid, privileged=False), Node(tuple(perms), 0)) == "r"


async def test_a_stub_domain_that_nobody_lets_talk_is_undone(house: House) -> None:
    before = await house.nodes()
    await house.monitor(house.config(*stubbed(house)), XENVM_FIREWALL_S="0.1")
    with pytest.raises(RemoteError, match=r"Ioemu_failed.*v4v-firewall-ready"):
        await house.call("start")
    assert house.domids() == stubs(house) == []
    assert await house.nodes() == before


async def test_a_stub_domain_without_an_agent_is_undone(house: House) -> None:
    before = await house.nodes()
    lines = ("qemu-dm-timeout = 1", "stubdom-cmdline = sim.boot=hang")
    await house.monitor(house.config(*stubbed(house), *lines))
    starting = asyncio.create_task(house.call("start"))
    await allow_to_talk(house)
    with pytest.raises(RemoteError, match=r"Ioemu_failed.*no dm-agent in stub domain"):
        await starting
    assert house.domids() == stubs(house) == []
    assert await house.nodes() == before


async def test_a_killed_monitors_stub_domain_ends_with_its_guest(house: House) -> None:
    before = await house.nodes()
    config = house.config(*stubbed(house))
    monitor = await house.monitor(config)
    starting = asyncio.create_task(house.call("start"))
    await allow_to_talk(house)
    await starting
    await house.kill(monitor)
    house.silence()
    await house.monitor(config)
    await house.hear_states("running")
    await house.call("destroy")
    assert house.domids() == stubs(house) == []
    assert await house.nodes() == before


async def started(house: House, *lines: str, **environ: str) -> tuple[Domid, Domid]:
    """A guest with a disk, and its stub domain."""
    disk = house.file("disk")
    config = house.config(*stubbed(house), f"disk = {disk}:file:hda:w:disk:", *lines)
    await house.monitor(config, **environ)
    starting = asyncio.create_task(house.call("start"))
    await allow_to_talk(house)
    await starting
    (domid,), (stub,) = house.domids(), stubs(house)
    return domid, stub


async def nothing_is_left(house: House, before: dict[str, str | None]) -> None:
    assert house.domids() == stubs(house) == []
    assert house.loops() == {}
    assert await house.nodes() == before
    assert not house.record().exists()


async def test_a_stub_domain_that_removes_its_node_ends_with_its_guest_all_the_same(house: House) -> None:
    before = await house.nodes()
    domid, _ = await started(house)
    await house.store.rm(f"/local/domain/0/device-model/{domid}")  # it owns it, and may
    await house.call("destroy")
    await nothing_is_left(house, before)


@pytest.mark.parametrize("moment", ["stop_agents", "stop_stubdom", "CloseDevices", "remove_model_nodes"])
async def test_a_stub_domain_is_ended_by_the_next_monitor_too(house: House, moment: str) -> None:
    """Whenever the one is killed that was about to."""
    before = await house.nodes()
    config = house.config(*stubbed(house), f"disk = {house.file('disk')}:file:hda:w:disk:")
    armed = house.root / "armed"
    dying = house.launch_program([DYING, moment, str(armed)], config)
    await house.hear("ping", "dbus-rpc-up")
    starting = asyncio.create_task(house.call("start"))
    await allow_to_talk(house)
    await starting
    armed.touch()
    with pytest.raises(OpenxtError):
        await house.call("destroy")
    assert await house.gone(dying) == -9
    await house.until(house.is_absent)
    house.silence()
    await house.monitor(config)
    await house.hear_states("shutdown")
    await nothing_is_left(house, before)


async def test_a_stub_domain_whose_number_was_not_yet_written_down_is_found(house: House) -> None:
    before = await house.nodes()
    config = house.config(*stubbed(house))
    monitor = await house.monitor(config)
    starting = asyncio.create_task(house.call("start"))
    await house.until(lambda: len(stubs(house)) == 1)
    await house.kill(monitor)
    with pytest.raises(OpenxtError):
        await starting
    (domid,), (stub,) = house.domids(), stubs(house)
    await house.store.rm(f"/local/domain/{domid}/image")  # as if it had been killed before it wrote them
    await house.store.rm(f"/local/domain/{stub}")
    house.silence()
    await house.monitor(config)
    await house.hear_states("shutdown")
    await nothing_is_left(house, before)


async def test_without_a_record_the_stub_domain_of_a_running_guest_is_found(house: House) -> None:
    before = await house.nodes()
    await started(house)
    (monitor,) = house.monitors
    await house.kill(monitor)
    house.record().unlink()
    house.silence()
    await house.monitor(house.root / f"xenmgr-xenvm-{UUID}")
    await house.hear_states("running")
    await house.call("destroy")
    await nothing_is_left(house, before)


async def test_a_disk_stays_attached_while_a_stub_domain_cannot_be_ended(house: House) -> None:
    before = await house.nodes()
    _, stub = await started(house)
    house.xen.fail_next("destroy_domain", errno.EPERM)
    with pytest.raises(RemoteError, match="destroy_domain: EPERM"):
        await house.call("destroy")
    assert stubs(house) == [stub]
    assert len(house.loops()) == 1
    await house.call("destroy")
    await nothing_is_left(house, before)


async def test_a_second_domain_with_a_stub_domains_uuid_stops_the_start(house: House) -> None:
    await house.monitor(house.config(*stubbed(house)))
    domid = house.xen.create_domain(DomainSpec(Uuid(STUBDOM), Kind.PV, 1))
    with pytest.raises(RemoteError, match=f"stubdom: domain {domid} has the uuid {STUBDOM}"):
        await house.call("start")
    assert stubs(house) == [domid]


OTHERS = ("virt-type = hvm", "kernel =", "qemu-dm-path = /any", "display = none")


async def start_another(house: House, **environ: str) -> None:
    house.launch("--config", str(house.config(*OTHERS, uuid=OTHER)), **environ)
    await house.until(lambda: house.bus.name_owner(xenvm_name(OTHER)))
    await house.call("start", OTHER)


async def test_a_stub_domain_that_claims_to_serve_anybody_is_not_asked(house: House) -> None:
    """The next guest has a QEMU of dom0, as if there were no agent."""
    _, stub = await started(house)
    await house.store.rm(f"/local/domain/{stub}/dm-agent/target")
    await start_another(house)
    assert await house.store.list(f"/local/domain/{stub}/dm-agent/dms") == ["1"]
    assert processes.find(str(house.root / f"var/run/xenvm/qemu-{OTHER}"))
    await house.call("destroy", OTHER)


async def test_a_stub_domain_that_claims_to_serve_another_guest_is_not_asked(house: House) -> None:
    async with agent(house, *DEVICES):
        _, stub = await started(house)
        await house.store.write(f"/local/domain/{stub}/dm-agent/target", "3")
        await start_another(house)
        assert house.domids(OTHER) == [Domid(3)]
        assert await house.store.list(f"/local/domain/{stub}/dm-agent/dms") == ["1"]
        assert await house.store.list(f"{AGENT}/dms") == ["3"]
        await house.call("destroy", OTHER)


async def test_a_stub_domain_cannot_hold_up_the_end_of_others(house: House) -> None:
    """With models of a guest that it does not serve, which it never ends."""
    _, stub = await started(house)
    await house.store.mkdir(f"/local/domain/{stub}/dm-agent/dms/3/0")
    house.xen.pause(stub)
    await start_another(house, XENVM_AGENT_END_S="3600")
    await house.call("destroy", OTHER)
    assert house.domids(OTHER) == []


# PCI devices

CARD = "0000:00:10.0"
GRANTED = [("frames", 0xFEBC0, 32), ("interrupts", 11, 1), ("ports", 0xC000, 64)]


async def test_pciback_serves_the_stub_domain_and_not_the_guest(bus_address: str, tmp_path: Path) -> None:
    async with open_house(tmp_path, bus_address, "--iommu") as house:
        device, before = house.pci(CARD), await house.nodes()
        domid, stub = await started(house, f"pci = 0,bind,{CARD}")
        ends = [f"/local/domain/0/backend/pci/{end}/0" for end in (domid, stub)]
        await house.store.wait_until(f"{ends[1]}/state", lambda value: value == "4", 10)
        assert [await house.store.read(f"{end}/dev-0") for end in ends] == [CARD, CARD]
        assert await house.store.read(f"{ends[0]}/state") is None
        assert house.xen.allowed(domid) == house.xen.allowed(stub) == GRANTED
        assert (device / "interrupts-allowed").exists()
        with pytest.raises(RemoteError, match="while an HVM domain runs"):
            await house.call("pci_del", domain="0", bus="0", slot="16", func="0")
        await house.call("destroy")
        assert (device / "resets").read_text() == "xx"
        await nothing_is_left(house, before)


# CD drives

HDC = 5632


def drive(backend: int, domid: Domid) -> str:
    return f"/local/domain/{backend}/backend/vbd/{domid}/{HDC}"


async def test_the_disc_of_a_guest_with_a_dm_agent_is_changed(house: House) -> None:
    first, second = house.file("first"), house.file("second")
    async with agent(house, *DEVICES):
        await house.monitor(house.config(*HVM, f"disk = {first}:file:hdc:r:cdrom:"))
        await house.call("start")
        (domid,) = house.domids()
        await house.call("cd_insert_file", virtpath="hdc", physpath=str(second))
        assert await house.store.read(f"{drive(0, domid)}/params") == str(second)
        await house.call("cd_eject", virtpath="hdc")
        assert await house.store.read(drive(0, domid)) is None
        await house.call("destroy")


async def test_a_disc_is_changed_for_guest_and_stub_domain(house: House) -> None:
    before = await house.nodes()
    domid, stub = await started(house, f"disk = {house.file('first')}:file:hdc:r:cdrom:")
    second, third = house.file("second"), house.file("third")
    changes = (("cd_insert_file", second, "/dev/loop1"), ("cd_insert_real", third, str(third)))
    for task, file, seen in changes:
        await house.call(task, virtpath="hdc", physpath=str(file))
        assert await house.store.read(f"{drive(0, stub)}/params") == seen
        assert await house.store.read(f"{drive(0, stub)}/mode") == "r"
        assert await house.store.read(f"{drive(0, stub)}/type") == "phy"
        numbers = {await house.store.read(f"{drive(0, d)}/physical-device") for d in (domid, stub)}
        assert len(numbers) == 1
    await house.call("cd_eject", virtpath="hdc")
    assert await house.store.read(drive(0, domid)) is None
    assert await house.store.read(drive(0, stub)) is None
    assert len(house.loops()) == 1  # the disk's
    await house.call("destroy")
    await nothing_is_left(house, before)


async def test_a_stub_domain_that_keeps_the_disc_hinders_the_change(house: House) -> None:
    domid, stub = await started(
        house, f"disk = {house.file('first')}:file:hdc:r:cdrom:", XENVM_UNPLUG_S="0.1"
    )
    state = f"{drive(0, stub)}/state"
    await house.store.wait_until(state, lambda value: value == "4", 10)
    ends, loops = [f"{drive(0, end)}/params" for end in (domid, stub)], house.loops()
    discs = [await house.store.read(end) for end in ends]
    house.xen.pause(stub)
    with pytest.raises(RemoteError, match=f"still uses vbd {HDC}"):
        await house.call("cd_eject", virtpath="hdc")
    assert [await house.store.read(end) for end in ends] == discs
    assert house.loops() == loops


@pytest.mark.parametrize("moment", ["step not PlugStubDisc", "step PlugDisk hdc"])
async def test_a_change_that_was_cut_short_is_taken_back_for_both(house: House, moment: str) -> None:
    first, armed = house.file("first"), house.root / "armed"
    config = house.config(*stubbed(house), f"disk = {first}:file:hdc:r:cdrom:")
    dying = house.launch_program([DYING, moment, str(armed)], config)
    await house.hear("ping", "dbus-rpc-up")
    starting = asyncio.create_task(house.call("start"))
    await allow_to_talk(house)
    await starting
    (domid,), (stub,) = house.domids(), stubs(house)
    armed.touch()
    with pytest.raises(OpenxtError):
        await house.call("cd_insert_file", virtpath="hdc", physpath=str(house.file("second")))
    await house.gone(dying)
    await house.until(house.is_absent)
    house.silence()
    await house.monitor(config)
    await house.hear_states("running")
    await house.call("unpause")  # its turn comes after what was cut short
    assert await house.store.read(f"{drive(0, domid)}/params") == "/dev/hdc"
    ((name, file),) = house.loops().items()
    assert file.endswith(str(first))
    assert await house.store.read(f"{drive(0, stub)}/params") == f"/dev/loop{name}"
