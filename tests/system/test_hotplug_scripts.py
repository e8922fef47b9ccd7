# SPDX-License-Identifier: GPL-2.0-or-later
"""The scripts that a driver domain runs for udev, by xenstore-utils on a simulated xenstored."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from peers import peer
from xenvm_house import OTHER, START, House

from openxt_api.network_slave import NETWORKSLAVE
from openxt_core.errors import RemoteError
from openxt_core.ids import Domid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.wire import Permission

SCRIPTS = Path(__file__).parents[2] / "scripts/udev"
NETWORK = "/wired/0/bridged"


@pytest.fixture
async def driver(house: House) -> Domid:
    """Another VM's domain, which is to serve."""
    house.launch("--config", str(house.config("startup = start", uuid=OTHER)))
    await house.until(lambda: house.domids(OTHER))
    (domid,) = house.domids(OTHER)
    await house.guest_is_up(domid)
    return domid


def block_device() -> Path:
    found = [path for path in Path("/dev").iterdir() if path.is_block_device()]
    if not found:  # as in some containers: no other kind of file can stand in for one
        pytest.skip("there is no block device here")
    return sorted(found)[-1]


async def script(house: House, name: str, action: str, **environ: str) -> int:
    command = [str(SCRIPTS / name), action]
    return (
        await asyncio.to_thread(subprocess.run, command, env=os.environ | house.environ | environ)
    ).returncode


class DriverDomain:
    """Plays the kernel of a domain that serves devices: the backend's states and its events."""

    def __init__(self, house: House, own: Domid, name: str, kind: str, devid: int) -> None:
        self.house, self.own, self.name, self.kind, self.devid = house, own, name, kind, devid

    async def serve(self, domid: Domid) -> None:
        await self._is(domid, "1")
        await self.house.store.write(self._state(domid), "2")
        assert await self.tell(domid, "online" if self.kind == "vif" else "add") == 0

    async def close(self, domid: Domid) -> None:
        await self._is(domid, "5")
        await self.house.store.write(self._state(domid), "6")
        assert await self.tell(domid, "remove") == 0

    def _state(self, domid: Domid) -> str:
        return paths.state(paths.backend(self.own, self.kind, domid, self.devid))

    async def _is(self, domid: Domid, state: str) -> None:
        await self.house.store.wait_until(self._state(domid), lambda value: value == state, 10)

    async def tell(self, domid: Domid, action: str) -> int:
        """Its script speaks with XenStore as the domain itself."""
        store = self.house.root / f"sim/xenstored-domains/{self.own}"
        where, vif = f"backend/{self.kind}/{domid}/{self.devid}", f"vif{domid}.{self.devid}"
        environ = {"XENSTORED_PATH": str(store), "XENBUS_PATH": where, "vif": vif}
        return await script(self.house, self.name, action, **environ)


@pytest.mark.parametrize(
    ("line", "name", "kind", "devid"),
    [
        ("vif = network=/wired/0/bridged,backend-domid=", "vif", "vif", 0),
        ("disk = DEVICE:phy:xvdb:w:disk::backend-domid=", "block", "vbd", 51728),
    ],
)
async def test_a_driver_domains_device_waits_for_its_script(
    house: House, driver: Domid, line: str, name: str, kind: str, devid: int
) -> None:
    before, device = await house.nodes(), block_device()
    await house.monitor(house.config(f"{line.replace('DEVICE', str(device))}{driver}"))
    starting = asyncio.create_task(house.call("start"))
    await house.until(house.domids)
    (domid,) = house.domids()
    domain = DriverDomain(house, driver, name, kind, devid)
    await domain.serve(domid)
    await starting
    await house.hear(*START)
    word = paths.hotplug_done(domid, kind, devid)
    assert await house.store.read(word) == "online"
    (owner,) = await house.store.get_permissions(paths.hotplug(domid, kind, devid))
    assert owner.domid == driver
    assert await house.store.read(f"{paths.frontend(domid, kind, devid)}/backend-uuid") == OTHER
    back = paths.backend(driver, kind, domid, devid)
    if kind == "vif":
        assert await house.store.read(f"{back}/bridge") == NETWORK
        assert await house.store.read(f"{back}/hotplug-status") == "connected"
    else:
        number = device.stat().st_rdev
        found = await house.store.read(f"{back}/physical-device")
        assert found == f"{os.major(number):x}:{os.minor(number):x}"
    await house.store.write(paths.state(back), "4")
    ending = asyncio.create_task(house.call("destroy"))
    await domain.close(domid)
    await ending
    assert await house.nodes() == before


@pytest.mark.parametrize(("path", "type"), [("/etc/passwd", "file"), ("/dev/vg/none", "phy"), ("/d", "vhd")])
async def test_a_disk_that_is_no_block_device_of_its_driver_domain_is_refused(
    house: House, driver: Domid, path: str, type: str
) -> None:
    before = await house.nodes()
    await house.monitor(house.config(f"disk = {path}:{type}:xvdb:w:disk::backend-domid={driver}"))
    starting = asyncio.create_task(house.call("start"))
    await house.until(house.domids)
    (domid,) = house.domids()
    domain = DriverDomain(house, driver, "block", "vbd", 51728)
    await domain.serve(domid)
    await domain.close(domid)
    told = f"domain {driver} refuses vbd 51728: '[^']*{path}' is not a block device"
    with pytest.raises(RemoteError, match=told):
        await starting
    assert await house.nodes() == before


async def test_the_number_of_a_disk_that_its_toolstack_knows_stays(house: House, driver: Domid) -> None:
    back = paths.backend(driver, "vbd", Domid(77), 51728)
    folder = paths.hotplug(Domid(77), "vbd", 51728)
    for path, value in ((f"{back}/physical-device", "7:9"), (f"{back}/params", "/d"), (folder, "")):
        await house.store.write(path, value)
    await house.store.set_permissions(folder, [Permission(driver, "n")])
    await house.store.set_permissions(f"{back}/physical-device", [Permission(driver, "n")])
    assert await DriverDomain(house, driver, "block", "vbd", 51728).tell(Domid(77), "add") == 0
    assert await house.store.read(f"{folder}/hotplug") == "online"
    assert await house.store.read(f"{back}/physical-device") == "7:9"


async def test_a_driver_domain_without_its_script_is_told_of_and_undone(house: House, driver: Domid) -> None:
    before = await house.nodes()
    line = f"vif = backend-domid={driver},network={NETWORK}"
    await house.monitor(house.config(line), XENVM_BACKEND_DOMAIN_S="0.5", XENVM_CLOSED_S="0.1")
    starting = asyncio.create_task(house.call("start"))
    await house.until(house.domids)
    state = paths.state(paths.backend(driver, "vif", house.domids()[0], 0))
    await house.store.wait_until(state, lambda value: value == "1", 10)
    await house.store.write(state, "2")
    with pytest.raises(RemoteError, match=f"no hotplug script of domain {driver} reported vif 0"):
        await starting
    assert await house.nodes() == before


async def test_what_nobody_awaits_is_left_alone(house: House) -> None:
    before = await house.nodes()
    for name, action in (("block", "add"), ("tap", "add"), ("vif", "online"), ("block", "remove")):
        assert await script(house, name, action, XENBUS_PATH="backend/vbd/7/51712", vif="vif7.0") == 0
    assert await house.nodes() == before


async def test_the_network_daemon_hears_of_awaited_cards_only(house: House) -> None:
    await house.store.mkdir(paths.hotplug(Domid(8), "vif", 0))
    bus = house.environ["DBUS_SYSTEM_BUS_ADDRESS"]
    async with peer(bus, NETWORKSLAVE.name, {"/": (NETWORKSLAVE,)}) as daemon:
        for domid in (7, 8):
            where = f"backend/vif/{domid}/0"
            assert await script(house, "vif", "online", XENBUS_PATH=where, vif=f"vif{domid}.0") == 0
    assert daemon.calls == [("backend_vif_notify", "vif8.0", 8, 0)]


@pytest.mark.parametrize("where", ["", "backend/vbd/7", "backend/vbd/x/1", "backend/vbd/7/1/../2"])
async def test_what_is_no_device_is_refused(house: House, where: str) -> None:
    assert await script(house, "block", "add", XENBUS_PATH=where) == 1


async def test_a_disk_that_a_domain_has_is_reported_and_its_partitions_are_not(house: House) -> None:
    before = await house.nodes()
    device = "/devices/vbd-51728/block/xvdb"
    word = "/xapi/0/frontend/vbd/51728/hotplug"
    assert await script(house, "block-frontend", "add", DEVPATH=f"{device}/xvdb1") == 0
    assert await house.nodes() == before
    assert await script(house, "block-frontend", "add", DEVPATH=device) == 0
    assert await house.store.read(word) == "online"
    assert await script(house, "block-frontend", "remove", DEVPATH=device) == 0
    assert await house.store.read(word) is None


async def test_a_backend_domain_that_is_not_there_is_refused_before_anything_is_made(house: House) -> None:
    before = await house.nodes()
    lines = ("vif = backend-domid=99,network=/n", "disk = /d:phy:xvdb:w:disk::backend-domid=98")
    await house.monitor(house.config(*lines))
    with pytest.raises(RemoteError) as caught:
        await house.call("start")
    assert "nic 0: there is no domain 99 to serve it" in str(caught.value)
    assert "disk xvdb: there is no domain 98 to serve it" in str(caught.value)
    assert await house.nodes() == before
