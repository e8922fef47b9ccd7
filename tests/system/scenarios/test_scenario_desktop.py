# SPDX-License-Identifier: GPL-2.0-or-later
"""A desktop's days, by xec and xec-vm alone: it boots, its network restarts, it sleeps, a disk is changed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from desktop import IN_ORDER, NETWORK, PLAY, UI, WORK, desktop, is_connected, network_is_ready, up
from machine import Machine, machine, uuid_of

from disk_images import debugfs, ext4, needs_root

pytestmark = [needs_root, pytest.mark.timeout(180)]

S3 = "/usr/share/xenclient/enter-s3.sh"


@pytest.fixture
async def it() -> AsyncIterator[Machine]:
    async with machine() as opened:
        yield opened


async def test_it_boots_by_itself_in_the_order_of_priorities_and_needs(it: Machine, tmp_path: Path) -> None:
    await desktop(it, tmp_path)
    await it.boot()
    await it.until_state(NETWORK, "running")
    assert await it.state(UI) == "stopped"  # the network VM has not said yet that it is up
    await network_is_ready(it)
    for name in IN_ORDER:
        await it.until_state(name, "running")
    await it.until_came_to("creating", IN_ORDER)
    assert len(it.domains()) == len(IN_ORDER)
    for name in (WORK, PLAY):
        await it.until(lambda name=name: is_connected(it, name), f"the card of {name} is connected")
    for name in (NETWORK, UI):
        sum = await it.db("read", f"/vm/{await it.uuid(name)}/config/disk/0/sha256sum")
        assert len(sum) == 64
    assert await it.db("exists", "/xenmgr/autostart-pending-vms") == "false"


@pytest.mark.parametrize("how", ["restarted", "rebooted", "crashed"])
async def test_its_network_vm_restarts_and_the_cards_of_user_vms_are_connected_again(
    it: Machine, tmp_path: Path, how: str
) -> None:
    await desktop(it, tmp_path)
    await it.owner(NETWORK, "set", "keep-alive", "true")
    await up(it)
    old = int(await it.vm(NETWORK, "get", "domid"))
    if how == "restarted":
        await it.owner(NETWORK, "set", "keep-alive", "false")
        await it.vm(NETWORK, "shutdown")
        again = asyncio.ensure_future(it.vm(NETWORK, "start"))
    elif how == "rebooted":
        again = asyncio.ensure_future(it.vm(NETWORK, "reboot"))
    else:
        it.crash(old)
        again = asyncio.ensure_future(asyncio.sleep(0, ""))

    async def is_another() -> bool:
        return await it.vm(NETWORK, "get", "domid") not in ("-1", str(old))

    await it.until(is_another, "the network VM has a new domain")
    await network_is_ready(it)
    await again
    for name in (WORK, PLAY):
        await it.until(lambda name=name: is_connected(it, name), f"the card of {name} is connected again")
        await it.until_told_last(name, "running")


async def test_the_host_sleeps_and_every_vm_does_as_its_mode_says(it: Machine, tmp_path: Path) -> None:
    await desktop(it, tmp_path)
    await it.create("third")
    morning = it.places.at("/morning")
    asleep = it.program(S3, f"until [ -e {morning} ]; do sleep 0.05; done")
    await up(it)
    await it.vm("third", "start")
    await it.owner(UI, "set", "s3-mode", "ignore")
    for name in (WORK, PLAY):
        await it.vm(name, "set", "pv-addons", "true")
    await it.vm(PLAY, "set", "s3-mode", "ignore")
    await it.vm("third", "set", "s3-mode", "restart")
    before = {name: await it.vm(name, "get", "domid") for name in (*IN_ORDER, "third")}
    sleeping = asyncio.ensure_future(it.xec("-o", "/host", "sleep"))
    await it.until_there(asleep)
    assert await it.xec("-o", "/host", "get", "state") == "sleeping"
    states = {name: await it.state(name) for name in before}
    assert states == {NETWORK: "stopped", UI: "running", WORK: "running", PLAY: "running", "third": "stopped"}
    assert [it.acpi(int(before[name])) for name in (WORK, PLAY)] == [3, 0]
    morning.touch()
    await it.until_state(NETWORK, "running")
    await network_is_ready(it)
    await sleeping
    for name in before:
        await it.until_state(name, "running")
    stayed = {name for name in before if await it.vm(name, "get", "domid") == before[name]}
    assert stayed == {UI, WORK, PLAY}
    assert it.acpi(int(before[WORK])) == 0
    assert await it.xec("-o", "/host", "get", "state") == "idle"


async def test_a_measured_vm_that_was_tampered_with_does_not_start_and_the_host_goes_down(
    it: Machine, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/shadow").write_text("root:*")
    image = ext4(it.places.storage / "vault.img", tree, 4)
    disk = {"path": str(image), "type": "file", "mode": "r", "device": "xvda", "devtype": "disk"}
    await it.create("vault", more={"measured": "true"}, disk={"0": disk})
    await it.create("other")
    gone_down = it.program("/sbin/poweroff")
    for _ in range(2):
        await it.vm("vault", "start")
        await it.vm("vault", "shutdown")
    await it.vm("other", "start")
    debugfs(image, "set_inode_field /etc/shadow mode 0100666")
    assert "217:" in await it.refused("vault", "start")
    await it.until_state("other", "stopped")
    await it.until_there(gone_down)
    assert it.domains() == {}
    assert "the host is shutting-down" in await it.refused("other", "start")
    assert uuid_of(f"/vm/{await it.uuid('vault')}") in it.log()
