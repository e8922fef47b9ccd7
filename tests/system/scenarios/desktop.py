# SPDX-License-Identifier: GPL-2.0-or-later
"""A desktop: the UI VM and the network VM of the templates, with their disks, and two user VMs."""

import asyncio
from pathlib import Path

from machine import Machine

from disk_images import converted, ext4

NETWORK, UI, WORK, PLAY = "Network", "uivm", "work", "play"
IN_ORDER = (NETWORK, UI, WORK, PLAY)
SERVES = "root=/dev/xvda1 sim.serves=yes"  # it has drivers for other domains' devices


async def desktop(it: Machine, folder: Path) -> None:
    """All of it, stopped, and to be started when the host boots."""
    for tag in ("uivm", "ndvm"):
        _disks(it, tag, folder)
        await it.db("write", f"/xenmgr/overwrite-{tag}-settings", "false")
    await _own_disks(it, NETWORK, "ndvm", ("ndvm", "ndvm-swap"))
    await _own_disks(it, UI, "uivm", ("uivm", "uivm-swap", "uivm-gconf"))
    await it.owner(NETWORK, "set", "cmd-line", SERVES)
    await it.owner(UI, "set", "qemu-dm-path", "")
    for priority, name in ((5, WORK), (1, PLAY)):
        await it.create(name, nic={"0": {"id": "0", "network": "/wired/0/bridged"}})
        await it.vm(name, "set", "start-on-boot", "true")
        await it.vm(name, "set", "start-on-boot-priority", str(priority))


def _disks(it: Machine, tag: str, folder: Path) -> None:
    tree = folder / tag
    (tree / "boot").mkdir(parents=True)
    (tree / "boot/vmlinuz").write_bytes(f"the kernel of {tag}".encode())
    at = it.places.storage / tag
    at.mkdir()
    raw = ext4(folder / f"{tag}.img", tree, 4)
    for name in (tag, f"{tag}-swap", f"{tag}-gconf"):
        converted(raw, "vpc", at / f"{name}.vhd")


async def _own_disks(it: Machine, name: str, tag: str, images: tuple[str, ...]) -> None:
    """The templates name files of a real dom0's root; this host's are below its own."""
    for number, image in enumerate(images):
        path = str(it.places.storage / tag / f"{image}.vhd")
        await it.xec("-o", f"{await path_of(it, name)}/disk/{number}", "set", "phys-path", path)


async def path_of(it: Machine, name: str) -> str:
    return f"/vm/{(await it.uuid(name)).replace('-', '_')}"


async def network_is_ready(it: Machine) -> None:
    """What the network VM's own software does when it is up."""
    await it.until_state(NETWORK, "running")
    await it.guest_writes(NETWORK, "booted", "1")


async def up(it: Machine) -> None:
    """The whole desktop runs."""
    await it.boot()
    ready = asyncio.ensure_future(network_is_ready(it))
    for name in IN_ORDER:
        await it.until_state(name, "running")
    await ready


async def is_connected(it: Machine, name: str) -> bool:
    """The user VM's card has the present network VM at its other end."""
    read = it.house.xenstore.read
    front, back = await it.vm(name, "get", "domid"), await it.vm(NETWORK, "get", "domid")
    vif = f"/local/domain/{front}/device/vif/0"
    ends = (await read(f"{vif}/backend-id"), await read(f"{vif}/state"))
    return ends == (back, "4") and await read(f"/local/domain/{back}/backend/vif/{front}/0/state") == "4"
