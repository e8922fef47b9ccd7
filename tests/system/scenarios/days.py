# SPDX-License-Identifier: GPL-2.0-or-later
"""The days of a desktop as commands that may be given again: xenmgr may die under any of them.

Each part begins and ends with all VMs as `desktop` left them, or running, and says which.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

from desktop import IN_ORDER, NETWORK, PLAY, UI, WORK, desktop, is_connected
from machine import Machine

from disk_images import debugfs, ext4

CARD = "0000:00:10.0"
VAULT, AIR, ROUTER, GUEST = "vault", "air", "router", "passing"
NAMES = tuple(sorted((*IN_ORDER, VAULT, AIR, ROUTER)))
POWER_PROGRAMS = ("/sbin/poweroff", "/usr/share/xenclient/enter-s3.sh")


async def prepare(it: Machine, folder: Path) -> None:
    """All VMs, stopped."""
    await desktop(it, folder)
    for path in POWER_PROGRAMS:
        it.program(path)
    for name in (WORK, PLAY):
        await it.vm(name, "set", "pv-addons", "true")
    await it.owner(UI, "set", "s3-mode", "ignore")
    tree = folder / "vault"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/shadow").write_text("root:*")
    image = ext4(it.places.storage / "vault.img", tree, 4)
    disk = {"path": str(image), "type": "file", "mode": "r", "device": "xvda", "devtype": "disk"}
    await it.create(VAULT, more={"measured": "true"}, disk={"0": disk})
    await it.xec("set", "measure-fail-action", "nothing")
    for name in (AIR, ROUTER):
        await it.create(name, **{"virt-type": "pv" if name == AIR else "pvh"})
    await it.vm(ROUTER, "set", "s3-mode", "restart")
    await it.vm(PLAY, "add-needed", await it.uuid(ROUTER))
    plug(it, "0x8086")
    await it.vm(AIR, "add-pt-rule", "0x0c03", "", "")


def plug(it: Machine, vendor: str) -> None:
    """A device of this machine, as sysfs has it and as the simulated host gives it away."""
    known = it.places.at("/sys/bus/pci/devices") / CARD
    given = it.places.run / "xenvm/dom0/pci" / CARD
    texts = {"vendor": vendor, "device": "0x10d3", "class": "0x0c0330"}
    more = {"driver": "e1000", "resource": "0xfebc0000 0xfebdffff 0x40200", "irq": "11"}
    for folder, content in ((known, texts), (given, more)):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in content.items():
            (folder / name).write_text(f"{text}\n")


@contextlib.asynccontextmanager
async def guests_software(it: Machine) -> AsyncIterator[None]:
    """What runs in every network VM: it says when it is up."""

    async def say() -> None:
        xs = it.house.xenstore
        while True:
            for domid in await xs.list("/local/domain"):
                node = f"/local/domain/{domid}/booted"
                if await xs.read(node) == "":
                    await xs.write(node, "1")
            await asyncio.sleep(0.05)

    saying = asyncio.create_task(say())
    try:
        yield
    finally:
        saying.cancel()


async def running(it: Machine, *names: str) -> None:
    for name in names:
        await it.until_state(name, "running")


async def stopped(it: Machine, *names: str) -> None:
    for name in names:
        await it.until_state(name, "stopped")


async def boots(it: Machine) -> None:
    """From all stopped to the desktop running, by autostart."""
    for node in ("/xenmgr/autostarted", "/xenmgr/host-state", "/xenmgr/pm-current-action"):
        await it.house.xenstore.rm(node)
    await it.boot()
    await running(it, *IN_ORDER, ROUTER)

    async def is_empty() -> bool:
        return await it.db("exists", "/xenmgr/autostart-pending-vms") == "false"

    await it.until(is_empty, "the queue is empty")


async def network_restarts(it: Machine) -> None:
    await it.vm(NETWORK, "shutdown")
    await stopped(it, NETWORK)
    await it.vm(NETWORK, "start")
    await running(it, *IN_ORDER)
    for name in (WORK, PLAY):
        await it.until(lambda name=name: is_connected(it, name), f"the card of {name} is connected again")


async def sleeps(it: Machine) -> None:
    await it.xec("-o", "/host", "sleep")
    await running(it, *IN_ORDER)

    async def is_awake() -> bool:
        domid = (await it.command("xec-vm", "-n", WORK, "get", "domid")).out
        return domid.isdigit() and it.acpi(int(domid)) == 0

    await it.until(is_awake, "work is awake")


async def life_of_one(it: Machine) -> None:
    """Made, used in every way, deleted."""
    await it.create(GUEST)
    await it.vm(GUEST, "set", "memory", "80")
    await it.vm(GUEST, "start")
    await running(it, GUEST)
    await it.vm(GUEST, "pause")
    await it.vm(GUEST, "unpause")
    await it.vm(GUEST, "reboot")
    await running(it, GUEST)
    assert await it.vm(GUEST, "get", "memory") == "80"
    await it.vm(GUEST, "destroy")
    await stopped(it, GUEST)
    await it.delete(GUEST)


async def vault_is_tampered_with(it: Machine) -> None:
    image = it.places.storage / "vault.img"
    await it.vm(VAULT, "start")
    await running(it, VAULT)
    await it.vm(VAULT, "shutdown")
    await stopped(it, VAULT)
    debugfs(image, "set_inode_field /etc/shadow mode 0100666")
    assert "217:" in await it.refused(VAULT, "start")
    debugfs(image, "set_inode_field /etc/shadow mode 0100644")
    await it.vm(VAULT, "start")
    await it.vm(VAULT, "destroy")
    await stopped(it, VAULT)


async def card_is_swapped(it: Machine) -> None:
    await it.vm(AIR, "start")
    await running(it, AIR)
    await it.vm(AIR, "destroy")
    await stopped(it, AIR)
    vendor = it.places.at(f"/sys/bus/pci/devices/{CARD}/vendor").read_text()
    plug(it, f"{int(vendor, 16) + 1:#06x}")  # one that was never there
    assert "now means" in await it.refused(AIR, "start")
    await it.vm(AIR, "confirm-devices", json.dumps([CARD]))
    await it.vm(AIR, "start")
    await running(it, AIR)
    await it.vm(AIR, "destroy")
    await stopped(it, AIR)


async def shuts_down(it: Machine) -> None:
    log = it.places.at("/storage/poweroff.ran")
    log.unlink(missing_ok=True)
    await it.xec("-o", "/host", "shutdown")
    await it.until_there(log)
    await stopped(it, *NAMES)


DAY = (
    boots,
    network_restarts,
    life_of_one,
    sleeps,
    vault_is_tampered_with,
    card_is_swapped,
    shuts_down,
)
