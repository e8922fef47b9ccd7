# SPDX-License-Identifier: GPL-2.0-or-later
"""The core of the scenarios on real Xen, by xec alone: what the guests print is the evidence.

All on one host, because starting one takes half a minute in the emulated dom0.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
import test_scenario_troubles as troubles
from desktop import IN_ORDER, NETWORK, PLAY, UI, WORK
from desktop_on_xen import CARD, MAC, desktop_on_xen, network_is_served, put_in
from machine import Machine, machine

from disk_images import debugfs, ext4
from guest_files import run

pytestmark = [pytest.mark.xen, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1700)]

CORE = (
    troubles.test_a_circle_of_dependencies_is_told_by_name_and_starts_nothing,
    troubles.test_a_hook_that_hangs_is_ended_and_holds_up_nobody_else,
    troubles.test_damage_to_one_vm_is_told_and_the_others_work,
    troubles.test_a_deleted_vm_takes_all_that_is_its_own_and_nothing_else,
)
OUT = Path("/bed/out")
S3 = "/usr/share/xenclient/enter-s3.sh"
Scenario = Callable[[Machine], Awaitable[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def it() -> AsyncIterator[Machine]:
    """What its programs wrote comes back with the run's other files."""
    async with machine(is_real=True) as opened:
        yield opened
        shutil.copytree(opened.house.layout.root / "log", OUT / "log", dirs_exist_ok=True)


@pytest.mark.parametrize("scenario", CORE, ids=lambda scenario: scenario.__name__.removeprefix("test_"))
async def test_of_single_vms(it: Machine, scenario: Scenario) -> None:
    it.told.clear()
    await scenario(it)
    for name in tuple(it.paths):
        await it.command(*it.asked(name), "delete")  # slots are few; the scenario may have lost one
    it.paths.clear()
    await it.db("sync")  # the next one looks at files


async def test_a_day_of_a_desktop(it: Machine, tmp_path: Path) -> None:
    """Each part goes on where the one before has ended."""
    run("modprobe", "xen-pciback")
    await desktop_on_xen(it, tmp_path)
    for part in (boots_in_order, network_vm_gets_a_card_and_comes_back, host_sleeps, vault_is_tampered_with):
        began = asyncio.get_running_loop().time()
        await part(it)
        print(f"{part.__name__}: {asyncio.get_running_loop().time() - began:.1f} s")


async def boots_in_order(it: Machine) -> None:
    """By autostart: the network VM first, the others once it has said that it is up."""
    it.told.clear()
    await it.boot()
    for name in IN_ORDER:
        await it.until_state(name, "running")
    await it.until_came_to("creating", IN_ORDER)
    assert sorted(it.domains().values()) == sorted([await it.uuid(name) for name in IN_ORDER])
    await network_is_served(it)


async def network_vm_gets_a_card_and_comes_back(it: Machine) -> None:
    """Its rule means a card that was not there at the last start: somebody has to confirm that."""
    assert "GUEST HAS" not in it.console(NETWORK)
    await it.vm(NETWORK, "shutdown")
    await it.until_says(WORK, "GUEST HEARS nothing\n")
    await put_in()
    assert f"now means {CARD} 0200 8086:100e" in await it.refused(NETWORK, "start")
    assert CARD in await it.vm(NETWORK, "changed-devices")
    assert await it.state(NETWORK) == "stopped"
    await it.owner(NETWORK, "set", "policy-modify-vm-settings", "true")
    await it.vm(NETWORK, "confirm-devices", f'["{CARD}"]')
    await it.vm(NETWORK, "start")
    await network_is_served(it)
    await it.until_says(NETWORK, f"GUEST HAS 0x8086:0x100e {MAC}")
    assert it.console(WORK).count("GUEST UP") == 1


async def host_sleeps(it: Machine) -> None:
    """A PV guest cannot sleep: a sleep that wants it to is called off; the other modes do as they say."""
    morning = it.places.at("/morning")
    asleep = it.program(S3, f"until [ -e {morning} ]; do sleep 0.1; done")
    before = {name: await it.vm(name, "get", "domid") for name in IN_ORDER}
    await it.vm(PLAY, "set", "pv-addons", "true")
    await it.vm(PLAY, "set", "s3-mode", "pv")
    done = await it.command("xec", "-o", "/host", "sleep")
    assert "227:" in done.err
    assert await it.uuid(PLAY) in done.err
    assert before == {name: await it.vm(name, "get", "domid") for name in IN_ORDER}
    await it.vm(PLAY, "set", "s3-mode", "restart")
    sleeping = asyncio.ensure_future(it.xec("-o", "/host", "sleep"))
    await it.until_there(asleep)
    states = {name: await it.state(name) for name in IN_ORDER}
    assert states == {NETWORK: "stopped", UI: "running", WORK: "running", PLAY: "stopped"}
    await it.until_says(WORK, "GUEST HEARS nothing\n", 2)
    morning.touch()
    await sleeping
    stayed = [name for name in IN_ORDER if await it.vm(name, "get", "domid") == before[name]]
    assert stayed == [UI, WORK]
    await network_is_served(it)
    assert [it.console(name).count("GUEST UP") for name in (UI, WORK, PLAY)] == [1, 1, 2]
    assert await it.xec("-o", "/host", "get", "state") == "idle"


async def vault_is_tampered_with(it: Machine) -> None:
    """A measured VM starts, and starts no more once its disk was changed; the host goes down."""
    tree = it.places.at("/tree")
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/shadow").write_text("root:*")
    image = ext4(it.places.storage / "vault.img", tree, 4)
    disk = {"path": str(image), "type": "file", "mode": "r", "device": "xvda", "devtype": "disk"}
    await it.create("vault", more={"measured": "true"}, disk={"0": disk})
    gone_down = it.program("/sbin/poweroff")
    for _ in range(2):
        await it.vm("vault", "start")
        await it.vm("vault", "shutdown")
    debugfs(image, "set_inode_field /etc/shadow mode 0100666")
    assert "217:" in await it.refused("vault", "start")
    await it.until_there(gone_down)
    assert it.domains() == {}
    assert it.console("vault").count("GUEST UP") == 2
    assert [it.console(name).count("GUEST shutdown") for name in (UI, PLAY)] == [0, 1]  # nobody was asked
    assert await it.uuid("vault") in it.log()
