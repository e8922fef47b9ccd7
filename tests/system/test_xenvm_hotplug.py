# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks and network cards that come, go and change while a guest runs, on the simulated host."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from xenvm_house import OTHER, UUID, House, open_house

from effort import effort
from openxt_api.xenvm_task_list import XenvmTasksClient
from openxt_core.errors import OpenxtError, RemoteError
from openxt_core.ids import Domid, xenvm_name, xenvm_path
from openxt_xen.xenstore import paths
from openxt_xenvm.devices.numbers import device_number

XVDB, HDC = 51728, 5632
MAC = "00:16:3e:01:02:03"


@pytest.fixture
async def house(bus_address: str) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="xenvm") as folder:
        async with open_house(Path(folder), bus_address) as opened:
            opened.bridge("br0")
            opened.bridge("br1")
            yield opened


async def guest_uses(house: House, domid: Domid, kind: str, devid: int) -> None:
    state = paths.state(paths.backend(Domid(0), kind, domid, devid))
    await house.store.wait_until(state, lambda value: value == "4", 10)


async def add_disk(house: House, **changes: str) -> None:
    words = {
        "path": str(house.file("extra")),
        "device": "xvdb",
        "type": "file",
        "mode": "w",
        "devtype": "disk",
    }
    await house.call("disk_add", **(words | changes))


@pytest.mark.parametrize("type_", ["file", "aio", "phy", "qcow", "vhd"])
@pytest.mark.parametrize("forced", ["false", "true"])
async def test_a_disk_comes_and_goes_and_leaves_nothing(house: House, type_: str, forced: str) -> None:
    domid = await house.running()
    before, idle = await house.nodes(), house.attached()
    await add_disk(house, type=type_)
    await guest_uses(house, domid, "vbd", XVDB)
    assert f"{house.root / 'extra'} | {type_} | xvdb" in str(await house.call("disk_list"))
    await house.call("disk_del", device="xvdb", forced=forced)
    assert await house.nodes() == before
    assert house.attached() == idle == {}
    assert "xvdb" not in str(await house.call("disk_list"))


@pytest.mark.parametrize("forced", ["false", "true"])
async def test_a_card_comes_and_goes_and_leaves_nothing(house: House, forced: str) -> None:
    domid = await house.running("vif = bridge=br0")
    before = await house.nodes()
    await house.call("nic_add", bridge="br1")
    await guest_uses(house, domid, "vif", 1)
    assert (house.bridge("br1") / f"vif{domid}.1").exists()
    await house.call("nic_del", id="1", forced=forced)
    assert await house.nodes() == before
    assert len(str(await house.call("nic_list")).splitlines()) == 2


async def test_what_was_plugged_goes_with_the_domain(house: House) -> None:
    before = await house.nodes()
    domid = await house.running()
    await add_disk(house, type="qcow")
    await house.call("nic_add", bridge="br1")
    await guest_uses(house, domid, "vbd", XVDB)
    await house.call("halt")
    assert await house.nodes() == before
    assert house.attached() == {}


async def test_without_a_domain_devices_wait_for_the_next_start(house: House) -> None:
    await house.monitor(house.config())
    await add_disk(house)
    await house.call("nic_add", bridge="br0", mac="00:16:3e:01:02:03")
    assert house.attached() == {}
    await house.call("start")
    (domid,) = house.domids()
    await guest_uses(house, domid, "vbd", XVDB)
    await guest_uses(house, domid, "vif", 0)


@pytest.mark.parametrize(
    ("task", "given", "texts"),
    [
        ("disk_add", {"path": "/no/such"}, ["disk xvdb: cannot open /no/such"]),
        ("disk_add", {"device": "xvda"}, ["disk xvda: has the number of disk xvda"]),
        ("disk_add", {"type": "vmdk"}, ["disk type 'vmdk'"]),
        ("disk_add", {"path": "a:b"}, ["'a:b': a colon"]),
        ("nic_add", {"bridge": "br9", "mac": "x"}, ["nic 1: the host has no bridge br9", "'x' is not a mac"]),
        ("nic_add", {"bridge": "br0", "mac": "00:16:3e:01:02:03"}, ["nic 1: has the mac of nic 0"]),
        ("nic_add", {"bridge": "br0,id=0"}, ["network card id 0 is given twice"]),
        ("disk_del", {"device": "xvdq"}, ["no virtual disk 'xvdq'"]),
        ("disk_del", {"device": "xvdc"}, ["the VM has no disk xvdc"]),
        ("nic_del", {"id": "7"}, ["the VM has no network card 7"]),
        ("cd_insert_file", {"virtpath": "xvda", "physpath": "/x"}, ["disk xvda is no CD drive"]),
        ("nic_network_switch", {"id": "0", "network": "br9"}, ["the host has no bridge br9"]),
    ],
)
async def test_what_cannot_be_is_told_and_changes_nothing(
    house: House, task: str, given: dict[str, str], texts: list[str]
) -> None:
    disk = f"disk = {house.file('disk')}:file:xvda:w:disk:"
    await house.running(disk, "vif = bridge=br0,mac=00:16:3e:01:02:03")
    before, attached = await house.nodes(), house.attached()
    call = add_disk(house, **given) if task == "disk_add" else house.call(task, **given)
    with pytest.raises(RemoteError) as caught:
        await call
    for text in texts:
        assert text in str(caught.value)
    assert await house.nodes() == before
    assert house.attached() == attached


async def test_a_guest_that_keeps_its_disk_is_told_of_and_forced(house: House) -> None:
    """A paused guest answers nothing."""
    await house.monitor(house.config(), XENVM_UNPLUG_S="0.1", XENVM_CLOSED_S="0.1")
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    before = await house.nodes()
    await add_disk(house)
    await guest_uses(house, domid, "vbd", XVDB)
    await house.call("pause")
    with pytest.raises(
        RemoteError, match=r"Device_timeout.*the guest still uses vbd 51728 after 0 s; forced"
    ):
        await house.call("disk_del", device="xvdb")
    assert "xvdb" in str(await house.call("disk_list"))
    await house.call("disk_del", device="xvdb", forced="true")
    assert house.attached() == {}
    assert await house.nodes() == before


# Kept by the guest, and let go later: a paused guest answers nothing


async def kept(house: House, *lines: str, devid: int = XVDB, **environ: str) -> Domid:
    """A guest that goes on using a disk, and is not waited for very long."""
    await house.monitor(house.config(*lines), **({"XENVM_UNPLUG_S": "0.1"} | environ))
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    if devid == XVDB:
        await add_disk(house)
    await guest_uses(house, domid, "vbd", devid)
    await house.call("pause")
    return domid


async def is_unlisted(house: House) -> bool:
    return "xvdb" not in str(await house.call("disk_list"))


async def test_asked_again_a_guest_still_keeps_its_disk(house: House) -> None:
    domid = await kept(house)
    for _ in range(3):
        with pytest.raises(RemoteError, match="the guest still uses vbd 51728"):
            await house.call("disk_del", device="xvdb")
    assert await house.store.read(paths.state(paths.frontend(domid, "vbd", XVDB))) == "4"
    assert list(house.attached().values()) == [str(house.root / "extra")]
    assert not await is_unlisted(house)


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_disk_that_was_refused_goes_when_the_guest_lets_go(house: House, is_killed: bool) -> None:
    """Whether or not its monitor lives that long."""
    await kept(house)
    with pytest.raises(RemoteError, match="the guest still uses vbd 51728"):
        await house.call("disk_del", device="xvdb")
    if is_killed:
        await house.kill(house.monitors[-1])
        house.silence()
        await house.monitor(house.config(), XENVM_UNPLUG_S="0.1")
        await house.hear("paused")
    await house.call("unpause")
    await house.until(lambda: is_unlisted(house))
    await house.until(lambda: not house.attached())
    await add_disk(house)  # its name is free again


async def test_a_monitor_killed_while_it_asks_leaves_the_guest_its_disk(house: House) -> None:
    domid = await kept(house, XENVM_UNPLUG_S="30")
    asked = asyncio.create_task(house.call("disk_del", device="xvdb"))
    back = paths.backend(Domid(0), "vbd", domid, XVDB)
    await house.store.wait_until(f"{back}/online", lambda value: value == "0", 10)
    await house.kill(house.monitors[-1])
    await asyncio.gather(asked, return_exceptions=True)
    house.silence()
    await house.monitor(house.config(), XENVM_UNPLUG_S="0.1")
    await house.hear("paused")
    assert not await is_unlisted(house)
    await house.call("unpause")  # in its turn: the next monitor has asked again by now
    await house.until(lambda: is_unlisted(house))
    assert house.attached() == {}


async def called_off(house: House, domid: Domid) -> None:
    """A `disk-del` that the guest has been asked for."""
    asked = asyncio.create_task(house.call("disk_del", device="xvdb"))
    back = paths.backend(Domid(0), "vbd", domid, XVDB)
    await house.store.wait_until(f"{back}/online", lambda value: value == "0", 10)
    tasks = XenvmTasksClient(house.bus, xenvm_name(UUID), xenvm_path(UUID))
    await tasks.cancel_task((await tasks.list_tasks())[-1]["id"].value)
    with pytest.raises(RemoteError, match="Task_cancelled"):
        await asked


async def test_a_removal_that_is_called_off_leaves_the_guest_its_disk(house: House) -> None:
    domid = await kept(house, XENVM_UNPLUG_S="30")
    before = await house.nodes()
    await called_off(house, domid)
    assert await house.nodes() == before
    await house.call("unpause")
    await house.call("disk_del", device="xvdb")
    assert house.attached() == {}


async def test_a_disk_comes_back_that_was_let_go_after_its_removal_was_called_off(house: House) -> None:
    """The guest had begun to close it, as Linux does with a mounted disk."""
    domid = await kept(house, XENVM_UNPLUG_S="30")
    front, back = paths.frontend(domid, "vbd", XVDB), paths.backend(Domid(0), "vbd", domid, XVDB)
    await house.store.write(paths.state(front), "5")
    await called_off(house, domid)
    attached = house.attached()
    await house.store.write(paths.state(front), "6")
    await house.store.wait_until(paths.state(back), lambda value: value == "2", 10)
    await house.call("unpause")
    await guest_uses(house, domid, "vbd", XVDB)
    assert house.attached() == attached
    assert not await is_unlisted(house)


async def test_a_drive_keeps_its_disc_when_another_was_refused(house: House) -> None:
    first, second = house.file("first.iso"), house.file("second.iso")
    domid = await kept(house, f"disk = {first}:file:hdc:r:cdrom:", devid=HDC)
    before = await house.nodes()
    with pytest.raises(RemoteError, match="the guest still uses vbd 5632"):
        await house.call("cd_insert_file", virtpath="hdc", physpath=str(second))
    assert await house.nodes() == before
    assert str(first) in str(await house.call("disk_list"))
    await house.call("unpause")
    await house.call("cd_insert_file", virtpath="hdc", physpath=str(second))
    await guest_uses(house, domid, "vbd", HDC)
    assert list(house.attached().values()) == [f"r {second}"]


@pytest.mark.parametrize(("state", "is_asked"), [("1", False), ("3", True), ("4", True), ("5", True)])
async def test_a_backend_that_waits_asks_a_guest_that_has_come(
    house: House, state: str, is_asked: bool
) -> None:
    """One without drivers never comes, and is not waited for."""
    await house.monitor(house.config(cmdline="sim.boot=hang"), XENVM_UNPLUG_S="0.1")
    await house.call("start")
    (domid,) = house.domids()
    await add_disk(house)
    await house.store.write(paths.state(paths.frontend(domid, "vbd", XVDB)), state)
    await house.store.write(paths.state(paths.backend(Domid(0), "vbd", domid, XVDB)), "2")
    if is_asked:
        with pytest.raises(RemoteError, match="the guest still uses vbd 51728"):
            await house.call("disk_del", device="xvdb")
    else:
        await house.call("disk_del", device="xvdb")
    assert await is_unlisted(house) is not is_asked


async def test_destroy_overtakes_an_unplug(house: House) -> None:
    before = await house.nodes()
    domid = await kept(house, XENVM_UNPLUG_S="3600")
    asked = asyncio.create_task(house.call("disk_del", device="xvdb"))
    back = paths.backend(Domid(0), "vbd", domid, XVDB)
    await house.store.wait_until(f"{back}/online", lambda value: value == "0", 10)
    await house.call("destroy")
    with pytest.raises(RemoteError, match="disk-del was overtaken"):
        await asked
    assert house.attached() == {}
    assert await house.nodes() == before


async def test_a_guest_that_lies_in_its_nodes_loses_its_disk_all_the_same(house: House) -> None:
    domid = await house.running()
    before = await house.nodes()
    await add_disk(house)
    await guest_uses(house, domid, "vbd", XVDB)
    front = paths.frontend(domid, "vbd", XVDB)
    await house.store.write(f"{front}/backend", "/local/domain/0/backend/vbd/99/51728")
    await house.store.write(f"{front}/backend-id", "99")
    await house.store.write(f"{front}/state", "no number" * 100)
    await house.call("disk_del", device="xvdb", forced="true")
    assert await house.nodes() == before
    assert house.attached() == {}


# CD drives


async def test_discs_are_changed_and_ejected(house: House) -> None:
    first, second = house.file("first.iso"), house.file("second.iso")
    domid = await house.running(f"disk = {first}:file:hdc:r:cdrom:")
    await guest_uses(house, domid, "vbd", HDC)
    params = f"{paths.backend(Domid(0), 'vbd', domid, HDC)}/params"
    await house.call("cd_insert_file", virtpath="hdc", physpath=str(second))
    await guest_uses(house, domid, "vbd", HDC)
    assert await house.store.read(params) == str(second)
    assert list(house.attached().values()) == [f"r {second}"]
    await house.call("cd_eject", virtpath="hdc")
    assert await house.store.read(params) is None
    assert house.attached() == {}
    assert " | file | hdc | r | cdrom" in str(await house.call("disk_list"))
    await house.call("cd_insert_real", virtpath="hdc", physpath=str(first))
    assert await house.store.read(params) == str(first)
    await house.call("cd_insert_file", virtpath="hdc", physpath="")
    assert await house.store.read(params) is None


async def test_an_empty_drive_starts_without_a_disc(house: House) -> None:
    await house.running("disk = :file:hdc:r:cdrom:")
    assert house.attached() == {}
    await house.call("cd_insert_file", virtpath="hdc", physpath=str(house.file("late.iso")))
    assert list(house.attached().values()) == [f"r {house.root / 'late.iso'}"]


async def test_a_locked_tray_stays_closed(house: House) -> None:
    domid = await house.running(f"disk = {house.file('cd')}:file:hdc:r:cdrom:")
    await house.store.write(f"{paths.backend(Domid(0), 'vbd', domid, HDC)}/locked", "true")
    before = await house.nodes()
    with pytest.raises(RemoteError, match="the guest has locked the tray of hdc"):
        await house.call("cd_eject", virtpath="hdc")
    assert await house.nodes() == before


# Networks


async def test_a_card_moves_to_another_bridge(house: House) -> None:
    domid = await house.running("vif = bridge=br0")
    await house.call("nic_network_switch", id="0", network="br1")
    assert (house.bridge("br1") / f"vif{domid}.0").exists()
    assert not (house.bridge("br0") / f"vif{domid}.0").exists()
    assert await house.store.read(f"{paths.backend(Domid(0), 'vif', domid, 0)}/bridge") == "br1"


async def test_a_network_of_the_daemon_is_named_where_it_looks(house: House) -> None:
    domid = await house.running("vif = bridge=br0")
    await house.call("nic_network_switch", id="0", network="/wired/0/bridged")
    bridge = f"{paths.backend(Domid(0), 'vif', domid, 0)}/bridge"
    assert await house.store.read(bridge) == "/wired/0/bridged"
    assert "/wired/0/bridged" in str(await house.call("nic_list"))


async def test_a_card_of_the_network_daemon_waits_for_its_script(house: House) -> None:
    before = await house.nodes()
    domid = await house.running("vif = network=/wired/0/bridged")
    back = paths.backend(Domid(0), "vif", domid, 0)
    assert await house.store.read(f"{back}/bridge") == "/wired/0/bridged"
    assert await house.store.read(f"{back}/hotplug-status") == "connected"
    assert await house.store.read(paths.hotplug_done(domid, "vif", 0)) == "online"
    await house.call("halt")
    assert await house.nodes() == before


@pytest.mark.parametrize("is_plugged", [False, True])
async def test_a_card_that_comes_back_is_told_to_be_connected(house: House, is_plugged: bool) -> None:
    """As netback and its script have it when the guest has let its card go and takes it again."""
    before = await house.nodes()
    domid = await house.running(*([] if is_plugged else ["vif = network=/wired/0/bridged"]))
    if is_plugged:
        await house.call("nic_add", bridge="/wired/0/bridged")
    back, word = paths.backend(Domid(0), "vif", domid, 0), paths.hotplug_done(domid, "vif", 0)
    await house.call("nic_network_switch", id="0", network="/wired/1/bridged")
    for node in (f"{back}/hotplug-status", f"{back}/bridge", word):
        await house.store.rm(node)
    await house.store.write(word, "online")
    await house.store.wait_until(f"{back}/hotplug-status", lambda value: value == "connected", 10)
    assert await house.store.read(f"{back}/bridge") == "/wired/1/bridged"
    await house.call("destroy")
    assert await house.nodes() == before


async def test_a_wireless_card_has_a_frontend_of_its_own_kind(house: House) -> None:
    before = await house.nodes()
    await house.monitor(house.config("vif = bridge=br0,wireless=true"))
    await house.call("start")
    (domid,) = house.domids()
    assert await house.store.read(f"/local/domain/{domid}/device/vwif/0/handle") == "0"
    await house.call("nic_del", id="0", forced="true")
    assert await house.store.list(f"/local/domain/{domid}/device/vwif") == []
    await house.call("destroy")
    assert await house.nodes() == before


# Killed


async def test_the_next_monitor_knows_what_was_plugged(house: House) -> None:
    before = await house.nodes()
    domid = await house.running()
    (first,) = house.monitors
    await add_disk(house)
    await house.call("nic_add", bridge="br1")
    await guest_uses(house, domid, "vbd", XVDB)
    await house.kill(first)
    house.silence()
    await house.monitor(house.config())
    await house.hear("running")
    assert "xvdb" in str(await house.call("disk_list"))
    await house.call("disk_del", device="xvdb")
    await house.call("nic_del", id="0")
    assert house.attached() == {}
    await house.call("destroy")
    assert await house.nodes() == before


KILLED = (
    # task, what it is given
    ("disk_add", {"device": "xvdb", "type": "qcow", "mode": "w", "devtype": "disk", "path": "new"}),
    ("cd_insert_file", {"virtpath": "hdc", "physpath": "new"}),
    ("nic_add", {"bridge": "br1"}),
    ("disk_del", {"device": "xvda"}),
    ("disk_del", {"device": "xvda", "forced": "true"}),
    ("nic_del", {"id": "0"}),
    ("nic_del", {"id": "0", "forced": "true"}),
    ("cd_eject", {"virtpath": "hdc"}),
    ("set_nic_backend_dom", {"id": "0", "domid": "0"}),
)
DYING = str(Path(__file__).with_name("dying_xenvm.py"))


@pytest.mark.proof
@pytest.mark.parametrize(("task", "given"), KILLED[: effort(2, len(KILLED))])
async def test_killed_between_any_two_steps_the_next_monitor_makes_it_whole(
    house: House, task: str, given: dict[str, str]
) -> None:
    """Before the record, before and between any two steps, before the answer; until it lives."""
    lines = (
        f"disk = {house.file('disk')}:file:xvda:w:disk:",
        f"disk = {house.file('cd')}:file:hdc:r:cdrom:",
        f"vif = bridge=br0,mac={MAC}",
    )
    new = house.file("new")
    words = {key: str(new) if value == "new" else value for key, value in given.items()}
    before, deaths, armed = await house.nodes(), 0, house.root / "armed"
    while True:
        armed.unlink(missing_ok=True)
        first = house.launch_program([DYING, str(deaths + 1), str(armed)], house.config(*lines))
        await house.hear("ping", "dbus-rpc-up")
        await house.call("start")
        (domid,) = house.domids()
        await house.guest_is_up(domid)
        for kind, devid in (("vbd", 51712), ("vbd", HDC), ("vif", 0)):
            await guest_uses(house, domid, kind, devid)
        armed.touch()
        try:
            await house.call(task, **words)
            break
        except OpenxtError:
            deaths += effort(3, 1)
        await house.gone(first)
        await next_monitor(house, *lines)
        assert house.domids() == [domid]
        await is_whole(house, domid)
        for task_ in ("destroy", "quit"):
            await house.call(task_)
        await house.gone(house.monitors[-1])
        assert await house.nodes() == before
        assert house.attached() == {}
        house.silence()
    assert deaths > 1


async def test_what_xenops_gave_a_guest_goes_with_it(house: House) -> None:
    before = await house.nodes()
    server = await driver(house)
    with_server = await house.nodes()
    domid = await house.running()
    disk = ("-mode", "w", "-phystype", "file", "-physpath", house.file("disk"), "-virtpath", "xvdb")
    card = ("-devid", 1, "-mac", MAC, "-netty", "/wired/0", "-backend-domid", server)
    await xenops(house, "add_vbd", "-domid", domid, *disk)
    await xenops(house, "add_vif", "-domid", domid, *card)
    assert house.attached() == {"loops/0": str(house.root / "disk")}
    await house.call("destroy")
    assert house.attached() == {}
    assert (await house.nodes()).keys() == with_server.keys()
    await house.call("destroy", uuid=OTHER)
    assert await house.nodes() == before


async def driver(house: House) -> Domid:
    """A domain of another VM, which serves devices."""
    house.launch("--config", str(house.config("startup = start", uuid=OTHER, cmdline="sim.serves=yes")))
    await house.until(lambda: house.domids(OTHER))
    (domid,) = house.domids(OTHER)
    await house.guest_is_up(domid)
    return domid


async def xenops(house: House, *words: object) -> None:
    command = [sys.executable, "-m", "openxt_xenvm.xenops.main", *map(str, words)]
    await asyncio.to_thread(subprocess.run, command, env=house.environ, check=True)


async def next_monitor(house: House, *lines: str) -> None:
    """What was left half done is whole when it has done something else."""
    house.silence()
    await house.monitor(house.config(*lines))
    await house.hear("running")
    await house.call("unpause")


async def is_whole(house: House, domid: Domid) -> None:
    """XenStore, dom0 and the monitor agree on what the domain has: all of each device, or nothing."""
    disks = [line.split(" | ") for line in str(await house.call("disk_list")).splitlines()[1:]]
    nics = [line.split("|")[0].strip() for line in str(await house.call("nic_list")).splitlines()[1:]]
    listed = {("vbd", str(device_number(words[2]))) for words in disks if words[0]}
    listed |= {("vif", number) for number in nics}
    for end in (f"/local/domain/{domid}/device", "/local/domain/0/backend"):
        own = "" if "device" in end else f"/{domid}"
        found = {
            (kind, name) for kind in ("vbd", "vif") for name in await house.store.list(f"{end}/{kind}{own}")
        }
        assert found == listed
    files = sorted(words[0] if words[3] == "w" else f"r {words[0]}" for words in disks if words[0])
    assert sorted(house.attached().values()) == files
    for kind, name in listed:
        await guest_uses(house, domid, kind, int(name))
