# SPDX-License-Identifier: GPL-2.0-or-later
"""What a running VM notices of changes made by way of xenmgr: discs and networks."""

from collections.abc import AsyncIterator

import pytest
from xenmgr_house import Desk, desk

from openxt_core.ids import Domid
from openxt_xen.xenstore import paths

HDC = 5632
TOO_LONG = "x" * 300
NETWORK = "/wired/0/bridged"


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


async def with_discs(it: Desk, *names: str) -> str:
    """A VM with the first of these discs in its drive."""
    folder = it.places.storage / "isos"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(bytes(4096))
    drive = {"path": str(folder / names[0]), "type": "file", "mode": "r", "device": "hdc", "devtype": "cdrom"}
    path = await it.create(disk={"0": drive})
    await it.vm(path, "start")
    return path


async def disc(it: Desk, path: str) -> str | None:
    """What is in the guest's drive."""
    back = paths.backend(Domid(0), "vbd", Domid(int(await it.get(path, "domid"))), HDC)
    found = await it.house.xenstore.read(f"{back}/params")
    return None if found is None else found.rpartition("/")[2]


async def test_a_running_vm_gets_another_disc(it: Desk) -> None:
    path = await with_discs(it, "first.iso", "second.iso")
    assert await disc(it, path) == "first.iso"
    await it.set(path, "cd", "s", "second.iso")
    assert await disc(it, path) == "second.iso"
    assert await it.get(path, "cd") == "second.iso"
    await it.set(path, "cd", "s", "")
    assert await disc(it, path) is None
    assert await it.get(path, "cd") == ""
    await it.vm(path, "destroy")


async def test_a_vm_whose_disc_was_ejected_reboots_and_starts_with_an_empty_drive(it: Desk) -> None:
    path = await with_discs(it, "first.iso")
    await it.set(path, "cd", "s", "")
    old = await it.get(path, "domid")
    await it.listens(path)
    await it.vm(path, "reboot")
    await it.until(lambda: _has_other_domain(it, path, old))
    await it.until_state(path, "running")
    assert await disc(it, path) is None
    await it.vm(path, "destroy")
    await it.until_state(path, "stopped")
    await it.vm(path, "start")
    assert await it.state(path) == "running"
    await it.vm(path, "destroy")


async def _has_other_domain(it: Desk, path: str, old: int) -> bool:
    return await it.get(path, "domid") not in (old, -1)


async def test_an_ejected_disc_does_not_keep_a_saved_vm_from_going_on(it: Desk) -> None:
    path = await with_discs(it, "first.iso")
    await it.set(path, "cd", "s", "")
    file = str(it.places.storage / "saved")
    await it.listens(path)
    await it.vm(path, "suspend_to_file", file)
    await it.vm(path, "resume_from_file", file)
    assert (await it.state(path), await disc(it, path)) == ("running", None)
    await it.vm(path, "destroy")


async def test_a_disc_that_is_not_there_leaves_the_drive_empty(it: Desk) -> None:
    path = await with_discs(it, "first.iso")
    await it.vm(path, "destroy")
    await it.until_state(path, "stopped")
    await it.set(path, "cd", "s", "nosuch.iso")
    await it.vm(path, "start")
    assert (await it.state(path), await disc(it, path)) == ("running", None)
    assert "drive hdc is empty: there is no" in it.house.log("xenmgr")
    await it.vm(path, "destroy")


async def test_names_that_no_file_system_takes_name_nothing(it: Desk) -> None:
    path = await with_discs(it, "first.iso")
    await it.set(path, "cd", "s", f"{TOO_LONG}.iso")
    assert (await disc(it, path), await it.get(path, "cd")) == (None, f"{TOO_LONG}.iso")
    await it.vm(path, "destroy")
    await it.until_state(path, "stopped")
    await it.db("inject", f"/vm/{it.uuid(path)}/config/disk/1", f'{{"path": "/{TOO_LONG}", "device": "hdb"}}')
    for name in ("crypto-key-dirs", "start-from-suspend-image"):
        await it.set(path, name, "s", f"/{TOO_LONG}")
    await it.vm(path, "start")
    assert await it.state(path) == "running"
    await it.vm(path, "destroy")


async def test_a_disc_that_the_guest_holds_stays_and_is_not_forgotten(it: Desk) -> None:
    path = await with_discs(it, "first.iso", "second.iso")
    domid = Domid(int(await it.get(path, "domid")))
    await it.house.xenstore.write(f"{paths.backend(Domid(0), 'vbd', domid, HDC)}/locked", "true")
    text = await it.fails(it.set(path, "cd", "s", "second.iso"))
    assert "the guest has locked the tray of hdc" in text
    assert await it.get(path, "cd") == "first.iso"
    assert await disc(it, path) == "first.iso"


async def test_a_running_vm_changes_its_network(it: Desk) -> None:
    path = await it.create(nic={"0": {"id": "0", "network": "/wired/0/shared"}})
    await it.set(path, "track-dependencies", "b", False)  # on a network VM, which is not the matter here
    await it.vm(path, "start")
    domid = Domid(int(await it.get(path, "domid")))
    (nic,) = await it.vm(path, "list_nics")
    await it.set(nic, "network", "s", NETWORK, "com.citrix.xenclient.vmnic")
    assert await it.house.xenstore.read(f"{paths.backend(Domid(0), 'vif', domid, 0)}/bridge") == NETWORK
    assert await it.house.xenstore.read(f"{paths.frontend(domid, 'vif', 0)}/disconnect") == "1"
    assert await it.get(nic, "network", "com.citrix.xenclient.vmnic") == NETWORK
