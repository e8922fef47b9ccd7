# SPDX-License-Identifier: GPL-2.0-or-later
"""What guests say of themselves: their drivers, their agent, their CD drives; and guests that lie."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from xenmgr_house import XENMGR, Desk, desk

from openxt_api.guest import GUEST
from openxt_api.xenmgr_host import XENMGR_HOST
from openxt_bus.connection import Bus

HOST = XENMGR_HOST.name
ADDONS = "attr/PVAddons"
PARTS = ("MajorVersion", "MinorVersion", "MicroVersion", "BuildVersion")
DRIVE, NODE = "1:0:2:0", "1_0_2_0"
SCSI = """Attached devices:
Host: scsi1 Channel: 00 Id: 02 Lun: 00
  Vendor: HL-DT-ST Model: DVDRAM GT80N     Rev: LS00
  Type:   CD-ROM                           ANSI  SCSI revision: 05
"""


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk("rpc-proxy") as opened:
        yield opened


async def running(it: Desk) -> str:
    path = await it.create()
    await it.vm(path, "start")
    return path


async def says(it: Desk, path: str, **nodes: str) -> None:
    """Written below the guest's own folder; `__` stands for a slash."""
    top = f"/local/domain/{await it.get(path, 'domid')}"
    for name, value in nodes.items():
        await it.house.xenstore.write(f"{top}/{name.replace('__', '/')}", value)


async def addons(it: Desk, path: str) -> tuple[bool, str]:
    return bool(await it.get(path, "pv-addons")), str(await it.get(path, "pv-addons-version"))


def version(*parts: str) -> dict[str, str]:
    return {f"{ADDONS.replace('/', '__')}__{name}": part for name, part in zip(PARTS, parts, strict=True)}


async def until_addons(it: Desk, path: str, wanted: tuple[bool, str]) -> None:
    async def is_so() -> bool:
        return await addons(it, path) == wanted

    await it.until(is_so)


async def agent_of(it: Desk, path: str) -> Bus:
    socket = it.places.run / "guests" / str(await it.get(path, "domid")) / "5555"
    return await Bus.connect(f"unix:path={socket}")


# PV drivers


async def test_drivers_that_a_guest_installs_and_uninstalls_are_noticed_and_announced(it: Desk) -> None:
    path = await running(it)
    assert await addons(it, path) == (False, "")
    await says(it, path, **version("7", "2", "0", "1024"), attr__PVAddons__Installed="1")
    await until_addons(it, path, (True, "7.2.0.1024"))
    await it.until(lambda: it.changed_properties().get("pv-addons") is True)  # told after it is so
    await it.until_told("vm_config_changed", path)
    assert await it.db("read", f"/vm/{it.uuid(path)}/pv-addons-installed") == "true"
    await says(it, path, attr__PVAddonsUninstalled="1")
    await until_addons(it, path, (False, ""))


async def test_what_was_found_out_is_kept_when_the_guest_is_gone_and_found_again_by_a_new_xenmgr(
    it: Desk,
) -> None:
    path = await running(it)
    it.house.supervisor.kill("xenmgr")
    await it.until(lambda: it.house.log("xenmgr").count("serving") == 2)
    await says(it, path, **version("7", "2", "0", "1"), attr__PVAddons__Installed="1")
    await until_addons(it, path, (True, "7.2.0.1"))
    await it.vm(path, "destroy")
    assert await addons(it, path) == (True, "7.2.0.1")


@pytest.mark.parametrize("lie", ["", "7.2", "x" * 4000, "1\n2", "-1", "99999999999", "١"])
async def test_a_version_that_is_no_number_is_not_taken_over(it: Desk, lie: str) -> None:
    path = await running(it)
    await says(it, path, **version("7", lie, "0", "1"), attr__PVAddons__Installed="1")
    await until_addons(it, path, (True, ""))


async def test_drivers_that_are_not_installed_are_not_believed(it: Desk) -> None:
    path = await running(it)
    await says(it, path, **version("7", "2", "0", "1"), attr__PVAddons__Installed="yes")
    other = await running(it)
    await says(it, other, **version("7", "2", "0", "1"), attr__PVAddons__Installed="1")
    await until_addons(it, other, (True, "7.2.0.1"))
    assert await addons(it, path) == (False, "")


# The agent


async def test_an_agent_that_starts_brings_the_hosts_version_of_the_drivers(it: Desk) -> None:
    it.places.xenclient_conf.write_text("tools = 5.4.3.21\n")
    path = await running(it)
    agent = await agent_of(it, path)
    agent.emit("/", GUEST.name, "agent_started")
    await until_addons(it, path, (True, "5.4.3.21"))
    agent.emit("/", GUEST.name, "agent_uninstalled")
    await until_addons(it, path, (False, ""))
    agent.emit("/", GUEST.name, "agent_started")
    await until_addons(it, path, (True, "5.4.3.21"))
    agent.close()


async def test_an_agent_speaks_for_its_own_vm_only_and_dom0_for_none(it: Desk) -> None:
    it.places.xenclient_conf.write_text("tools = 5.4.3.21\n")
    path, other = await running(it), await running(it)
    it.house.bus.emit("/", GUEST.name, "agent_started")
    agent = await agent_of(it, other)
    agent.emit("/", GUEST.name, "agent_started")
    agent.emit("/", GUEST.name, "xorg_running")
    await until_addons(it, other, (True, "5.4.3.21"))
    xorg = f"/xenmgr/vms/{it.uuid(other)}/xorg"
    await it.house.xenstore.wait_until(xorg, lambda value: value == "1", 10)
    assert await addons(it, path) == (False, "")
    assert await it.house.xenstore.read(f"/xenmgr/vms/{it.uuid(path)}/xorg") is None
    agent.close()


# CD drives


def with_drive(it: Desk, *, has_disc: bool = True) -> None:
    for path, content in (
        ("/proc/scsi/scsi", SCSI),
        ("/lib/udev/cdrom_id", f"#!/bin/sh\necho ID_CDROM=1\necho ID_CDROM_MEDIA={int(has_disc)}\n"),
    ):
        it.places.at(path).parent.mkdir(parents=True, exist_ok=True)
        it.places.at(path).write_text(content)
    it.places.at("/lib/udev/cdrom_id").chmod(0o755)
    it.places.at(f"/sys/class/block/sr0/device/scsi_device/{DRIVE}").mkdir(parents=True)


async def test_a_starting_vm_finds_the_folders_of_its_cd_backend_and_what_is_in_the_drives(it: Desk) -> None:
    with_drive(it)
    path = await running(it)
    domid = await it.get(path, "domid")
    xs, top = it.house.xenstore, f"/local/domain/{domid}"
    for name in ("bsgdev", "bsgdev-req"):
        owner, guest = await xs.get_permissions(f"{top}/{name}")
        assert ((owner.domid, owner.access), (guest.domid, guest.access)) == ((0, "n"), (domid, "b"))
    assert await xs.read(f"{top}/bsgdev-req/{NODE}/autolock") == "1"
    assert await xs.read(f"/xenclient/bsgdev/{NODE}/media") == "1"
    await it.set("/", "autolock-cd-drives", "b", False, f"{XENMGR}.config")
    assert await xs.read(f"{top}/bsgdev-req/{NODE}/autolock") == "0"


async def test_a_drive_that_belongs_to_a_vm_is_given_to_it_before_it_runs(it: Desk) -> None:
    with_drive(it)
    path = await it.create()
    await it.call("/host", HOST, "assign_cd_device", "sbs", DRIVE, True, it.uuid(path))
    asked: list[str] = []

    def backend(changed: str) -> None:
        if changed.endswith("req-assign"):
            asked.append(changed)

    watch = await it.house.xenstore.watch("/local/domain", backend)
    task = asyncio.create_task(it.vm(path, "start"))
    await it.until(lambda: asked)
    assert await it.state(path) == "creating"
    await it.house.xenstore.rm(asked[0])
    await task
    await watch.close()
    assert await it.state(path) == "running"
    assert await it.house.xenstore.read(asked[0].replace("req-assign", "autolock")) == "0"


async def test_a_vm_whose_drive_nobody_gives_does_not_start_and_says_which(it: Desk) -> None:
    with_drive(it)
    nodes = await it.nodes()
    path = await it.create()
    await it.call("/host", HOST, "assign_cd_device", "sbs", DRIVE, True, it.uuid(path))
    text = await it.fails(it.vm(path, "start"))
    assert DRIVE in text and "req-assign" in text  # noqa: PT018
    assert (await it.state(path), it.domids(path)) == ("stopped", [])
    assert {name for name in await it.nodes() if "/domain/" in name} == {n for n in nodes if "/domain/" in n}


async def test_a_drive_that_a_guest_takes_or_lets_go_by_itself_is_announced(it: Desk) -> None:
    with_drive(it, has_disc=False)
    path = await running(it)
    await says(it, path, **{f"bsgdev__{NODE}__lock": "1"})
    await it.until(lambda: ["1:0:2:0", it.uuid(path), path] in [body for _, body in it.signals])
    assert (await it.call("/host", HOST, "list_cd_devices"))[0]["vm"] == it.uuid(path)
    await says(it, path, **{f"bsgdev__{NODE}__lock": "0"})
    await it.until(lambda: [DRIVE, "", "/"] in [body for _, body in it.signals])
    assert await it.house.xenstore.read(f"/xenclient/bsgdev/{NODE}/media") == "0"


async def test_a_guest_that_ends_lets_its_drives_go(it: Desk) -> None:
    with_drive(it)
    path = await running(it)
    await says(it, path, **{f"bsgdev__{NODE}__lock": "1"})
    await it.until(lambda: [DRIVE, it.uuid(path), path] in [body for _, body in it.signals])
    it.signals.clear()
    await it.vm(path, "destroy")
    await it.until(lambda: [DRIVE, "", "/"] in [body for _, body in it.signals])
