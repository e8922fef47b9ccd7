# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks and network cards of a VM, from its config to its end, on the simulated host."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest
from xenvm_house import START, UUID, House, builds_held, open_house

from openxt_core.errors import OpenxtError, RemoteError
from openxt_core.ids import DOM0, Domid
from openxt_xen.hypervisor import DomainSpec, Kind, Rings
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStore
from openxt_xenvm.config.model import Disk
from openxt_xenvm.devices.backing import Attachment
from openxt_xenvm.devices.vkbd import Vkbd
from openxt_xenvm.errors import DeviceError, DeviceTimeout
from openxt_xenvm.plan.closing import close, error_path
from openxt_xenvm.plan.plugging import plug
from openxt_xenvm.settings import Settings
from openxt_xenvm.site import Host, Site

MAC = "00:16:3e:01:02:03"
XVDA, HDC = 51712, 5632

T = TypeVar("T")


@pytest.fixture
async def house(bus_address: str) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="xenvm") as folder:
        async with open_house(Path(folder), bus_address) as opened:
            opened.bridge("br0")
            yield opened


@pytest.fixture(params=["pvh", "pv"])
def kind(request: pytest.FixtureRequest) -> str:
    return f"virt-type = {request.param}"


def lines(house: House) -> tuple[str, ...]:
    """A disk of each type and a card."""
    return (
        f"disk = {house.file('disk')}:file:xvda:w:disk:",
        f"disk = {house.file('cd')}:phy:hdc:r:cdrom:none",
        f"vif = bridge=br0,mac={MAC}",
    )


async def connected(house: House, domid: Domid, *devices: str) -> None:
    """The guest has taken them up."""
    for device in devices:
        state = f"/local/domain/0/backend/{device.replace('/', f'/{domid}/')}/state"
        await house.store.wait_until(state, lambda value: value == "4", 10)


async def nothing_is_left(house: House, before: dict[str, str | None]) -> None:
    assert await house.nodes() == before
    assert house.loops() == {}
    assert house.domids() == []
    assert not house.record().exists()


async def test_the_guest_gets_what_the_config_says_and_nothing_is_left(house: House, kind: str) -> None:
    before = await house.nodes()
    await house.monitor(house.config(kind, *lines(house)))
    await house.call("start")
    await house.hear(*START)
    (domid,) = house.domids()
    await connected(house, domid, f"vbd/{XVDA}", f"vbd/{HDC}", "vif/0")
    assert house.loops() == {"0": str(house.root / "disk")}
    assert [file.name for file in house.bridge("br0").iterdir()] == [f"vif{domid}.0"]
    await house.guest_is_up(domid)
    await house.call("halt")
    await nothing_is_left(house, before)


async def test_backends_are_told_what_to_open(house: House) -> None:
    await house.monitor(house.config(*lines(house)))
    await house.call("start")
    (domid,) = house.domids()
    disk = await house.nodes(f"/local/domain/0/backend/vbd/{domid}/{XVDA}")
    told = {path.rpartition("/")[2]: value for path, value in disk.items()}
    assert told["physical-device"] == "7:0"
    assert told["params"] == str(house.root / "disk")
    assert (told["type"], told["mode"], told["hotplug-status"]) == ("file", "w", "connected")
    card = f"/local/domain/0/backend/vif/{domid}/0"
    assert await house.store.read(f"{card}/mac") == MAC
    assert await house.store.read(f"{card}/hotplug-status") == "connected"


async def test_the_guest_cannot_write_its_backends(house: House) -> None:
    await house.monitor(house.config(*lines(house)))
    await house.call("start")
    (domid,) = house.domids()
    for device in (f"vbd/{domid}/{XVDA}", f"vif/{domid}/0"):
        owner, guest = await house.store.get_permissions(f"/local/domain/0/backend/{device}/online")
        assert (owner.domid, guest.domid, guest.access) == (0, domid, "r")


async def test_a_read_only_disk_has_a_read_only_loop_device(house: House) -> None:
    await house.monitor(house.config(f"disk = {house.file('disk')}:file:xvda:r:disk:"))
    await house.call("start")
    assert house.loops() == {"0": f"r {house.root / 'disk'}"}


async def test_a_card_without_a_place_is_on_the_first_bridge_with_an_address_of_its_own(house: House) -> None:
    house.bridge("abr")
    await house.monitor(house.config("vif ="))
    await house.call("start")
    (domid,) = house.domids()
    assert (house.bridge("abr") / f"vif{domid}.0").exists()
    mac = await house.store.read(f"/local/domain/{domid}/device/vif/0/mac")
    assert mac is not None
    assert mac in str(await house.call("nic_list"))


async def test_loop_devices_of_others_are_not_touched(house: House) -> None:
    other = house.file("other")
    disk = Disk(str(other), "file", "xvda", writable=True, is_cdrom=False)
    assert house.keeper.attach(Attachment(51712, 0, "loop", "/dev/loop0", str(other)), disk, UUID)
    await house.monitor(house.config(*lines(house)))
    await house.call("start")
    assert house.loops() == {"0": str(other), "1": str(house.root / "disk")}
    await house.call("destroy")
    assert house.loops() == {"0": str(other)}


@pytest.mark.parametrize(
    ("extra", "texts"),
    [
        ("disk = {disk}:file:xvda:w:disk:", ["disk xvda: has the number of disk xvda"]),
        ("disk = {disk}:file:sdq:w:disk:", ["disk sdq: "]),
        ("vif = bridge=br0,mac={mac}", ["nic 1: has the mac of nic 0"]),
        ("vif = bridge=br0,mac=01:00:00:00:00:01", ["nic 1: mac 01:00:00:00:00:01 is a multicast address"]),
        ("vif = bridge=br9,mac=x", ["nic 1: 'x' is not a mac", "nic 1: the host has no bridge br9"]),
    ],
)
async def test_all_that_is_wrong_is_told_before_anything_is_built(
    house: House, extra: str, texts: list[str]
) -> None:
    before = await house.nodes()
    await house.monitor(house.config(*lines(house), extra.format(disk=house.root / "disk", mac=MAC)))
    with pytest.raises(RemoteError, match="exception: InvalidConfig") as caught:
        await house.call("start")
    for text in texts:
        assert text in str(caught.value)
    assert house.silence() == []
    await nothing_is_left(house, before)


async def test_a_bridge_that_goes_meanwhile_fails_the_start_and_leaves_nothing(house: House) -> None:
    before = await house.nodes()
    await house.monitor(house.config(*lines(house)))
    with builds_held(house):
        starting = asyncio.create_task(house.call("start"))
        await house.until(house.domids)
        house.bridge("br0").rmdir()
    with pytest.raises(RemoteError, match=r"exception: Device_error.*there is no bridge br0"):
        await starting
    await nothing_is_left(house, before)


async def test_devices_are_found_again_by_the_next_monitor(house: House) -> None:
    before = await house.nodes()
    first = await house.monitor(house.config(*lines(house)))
    await house.call("start")
    (domid,) = house.domids()
    await connected(house, domid, f"vbd/{XVDA}", "vif/0")
    await house.kill(first)
    house.silence()
    await house.monitor(house.config())  # the file has no disks any more
    await house.hear("running")
    await connected(house, domid, f"vbd/{XVDA}", "vif/0")
    await house.call("destroy")
    await nothing_is_left(house, before)


async def test_a_lost_record_does_not_lose_the_loop_devices(house: House) -> None:
    before = await house.nodes()
    first = await house.monitor(house.config(*lines(house)))
    await house.call("start")
    await house.kill(first)
    house.record().unlink()
    house.silence()
    await house.monitor(house.config())
    await house.call("destroy")
    await nothing_is_left(house, before)


async def test_loop_devices_of_a_domain_that_vanished_are_given_back(house: House) -> None:
    before = await house.nodes()
    first = await house.monitor(house.config(*lines(house)))
    await house.call("start")
    await house.kill(first)
    house.xen.destroy_domain(house.domids()[0])
    house.silence()
    await house.monitor(house.config())
    await house.hear("shutdown")
    await nothing_is_left(house, before)


async def test_a_start_killed_half_way_gives_its_devices_back(house: House) -> None:
    before = await house.nodes()
    first = await house.monitor(house.config(*lines(house), "vkbd = true"))  # waits: nobody plays its backend
    starting = asyncio.create_task(house.call("start"))
    await house.until(house.loops)
    await house.kill(first)
    with pytest.raises(OpenxtError):
        await starting
    house.silence()
    await house.monitor(house.config(*lines(house)))
    await house.until(lambda: house.call("get_status"))
    await house.call("destroy")
    await nothing_is_left(house, before)


def site(house: House, limit_s: float = 0.05) -> Site:
    """An empty domain, on a host that does not wait long."""
    domid = house.xen.create_domain(DomainSpec(UUID, Kind.PVH, 1))
    settings = Settings(backend_s=limit_s, closed_s=0.05)
    host = Host(house.xen, house.store, house.root / "lock", house.keeper, settings)
    return Site(host, UUID, lambda _: None, lambda _: None, domid, rings=Rings(1, 2))


async def test_a_backend_that_never_answers_is_not_waited_for_long(house: House) -> None:
    with pytest.raises(DeviceTimeout, match="no backend for vkbd 0"):
        await plug(site(house), Vkbd(0))  # nobody plays its backend


async def test_a_backend_that_refuses_is_an_error_at_once(house: House) -> None:
    here = site(house, 10)
    plugging = asyncio.create_task(plug(here, Vkbd(0)))
    state = paths.state(Vkbd(0).backend_path(here.guest))
    await house.store.wait_until(state, lambda value: value == "1", 10)
    back = state.removesuffix("/state")
    await house.store.write(f"{error_path(back)}/error", "22 no such thing")
    await house.store.write(state, "6")
    with pytest.raises(DeviceError, match="refuses it: 22 no such thing"):
        await plugging
    await close(here, DOM0, "vkbd", 0)
    assert await house.store.list("/local/domain/0/error") == []


async def test_a_backend_that_never_closes_does_not_keep_a_domain_from_ending(house: House) -> None:
    before, here = await house.nodes(), site(house)
    back = Vkbd(0).backend_path(here.guest)
    await house.store.write(f"{back}/state", "4")
    await close(here, DOM0, "vkbd", 0)
    await close(here, DOM0, "vkbd", 0)
    assert await house.nodes() == before


@asynccontextmanager
async def restless_guest(house: House, here: Site, *nodes: str) -> AsyncIterator[None]:
    """It writes its nodes, as long as they are there, before any transaction of ours ends."""
    quick = await XenStore.connect(house.environ["XENSTORED_PATH"])
    numbers = count()
    transact = here.host.store.transact

    async def disturbed(body: Callable[[int], Awaitable[T]], *attempts: int) -> T:
        async def then_the_guest(tx: int) -> T:
            result = await body(tx)
            for node in nodes:
                if await quick.read(node) is not None:
                    await quick.write(node, str(next(numbers)))
            return result

        return await transact(then_the_guest, *attempts)

    here.host.store.transact = disturbed  # type: ignore[method-assign]
    yield
    quick.close()


async def test_a_guest_that_writes_on_and_on_loses_its_device_all_the_same(house: House) -> None:
    here = site(house)
    back, front = Vkbd(0).backend_path(here.guest), Vkbd(0).frontend_path(here.guest)
    with pytest.raises(DeviceTimeout):
        await plug(here, Vkbd(0))
    await house.store.write(f"{back}/state", "4")
    async with restless_guest(house, here, f"{front}/state", front):
        with pytest.raises(DeviceTimeout):
            await plug(here, Vkbd(0))  # anew: what was there goes first
        await house.store.write(f"{back}/state", "4")
        await close(here, DOM0, "vkbd", 0)
    assert [await house.store.read(end) for end in (back, front)] == [None, None]


async def test_a_driver_domain_that_writes_on_and_on_keeps_no_other_domain_from_ending(house: House) -> None:
    here, driver = site(house), Domid(7)
    back = Vkbd(0, backend_domid=driver).backend_path(here.guest)
    complaint = error_path(back)
    for node, value in ((f"{back}/state", "4"), (f"{back}/online", "1"), (f"{complaint}/error", "22 no")):
        await house.store.write(node, value)
    async with restless_guest(house, here, f"{back}/state", complaint.rpartition("/")[0]):
        await close(here, driver, "vkbd", 0)
    assert [await house.store.read(node) for node in (back, complaint)] == [None, None]


async def test_lists_of_devices(house: House) -> None:
    await house.monitor(house.config(*lines(house)))
    disk, cd = house.root / "disk", house.root / "cd"
    listed = await house.call("disk_list")
    assert listed is not None
    assert listed.splitlines()[1:] == [
        f"{disk} | file | xvda | w | disk | none",
        f"{cd} | phy | hdc | r | cdrom | none",
    ]
    assert await house.call("device", type="vbd", cmd="list") == (
        f"physpath: {disk}, type: file, virtpath: xvda, mode: w, devtype: disk\n"
        f"physpath: {cd}, type: phy, virtpath: hdc, mode: r, devtype: cdrom"
    )
    assert await house.call("device", type="nic", cmd="list") == f"id: 0, network:, mac:{MAC}"
    assert await house.call("device", type="pci", cmd="list") == ""


async def test_fifty_starts_and_stops_leave_no_loop_device_and_no_file(house: House) -> None:
    before = await house.nodes()
    monitor = await house.monitor(house.config(*lines(house)))
    opened = []
    for _ in range(50):
        await house.call("start")
        await house.call("destroy")
        opened.append(len(list(Path(f"/proc/{monitor.pid}/fd").iterdir())))
    assert opened[-1] == opened[0]
    await nothing_is_left(house, before)
