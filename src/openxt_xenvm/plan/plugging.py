# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that give a built domain its disks and network cards, each with what undoes it.

Each waits until dom0's backend is ready for the guest, and then does what a host's hotplug script would.
"""

import asyncio
from dataclasses import dataclass

from openxt_core.errors import Unavailable
from openxt_core.ids import DOM0
from openxt_xen.xenstore import paths
from openxt_xenvm.config.model import Disk, Nic
from openxt_xenvm.devices.base import Device, XenbusState, nodes
from openxt_xenvm.devices.numbers import device_number
from openxt_xenvm.devices.vbd import vbd
from openxt_xenvm.devices.vif import vif
from openxt_xenvm.errors import DeviceError, DeviceTimeout
from openxt_xenvm.plan.closing import close, detach, error_path
from openxt_xenvm.plan.steps import Step
from openxt_xenvm.record import Loop
from openxt_xenvm.site import Site

LOOP_ATTEMPTS = 32
READY = frozenset({str(XenbusState.INIT_WAIT), str(XenbusState.INITIALISED), str(XenbusState.CONNECTED)})
FAILED = frozenset({str(XenbusState.CLOSING), str(XenbusState.CLOSED)})


@dataclass(frozen=True)
class AttachLoop(Step):
    """A loop device in front of the disk's file.  It is written down before it is made."""

    disk: Disk

    async def do(self, site: Site) -> None:
        xen, keeper, devid = site.host.xen, site.host.keeper, device_number(self.disk.virtpath)
        file = await xen(keeper.real_path, self.disk.path)
        for _ in range(LOOP_ATTEMPTS):
            loop = Loop(devid, await xen(keeper.free_loop), file)
            site.remember(loop)
            if await xen(keeper.attach_loop, loop.device, loop.file, writable=self.disk.writable):
                return
            site.forget(loop)
        raise Unavailable(f"disk {self.disk.virtpath}: others took {LOOP_ATTEMPTS} loop devices before us")

    async def undo(self, site: Site) -> None:
        devid = device_number(self.disk.virtpath)
        for loop in [loop for loop in site.loops if loop.devid == devid]:
            await detach(site, loop)


@dataclass(frozen=True)
class PlugDisk(Step):
    disk: Disk

    @property
    def title(self) -> str:
        return f"PlugDisk {self.disk.virtpath}"

    async def do(self, site: Site) -> None:
        devid = device_number(self.disk.virtpath)
        loops = {loop.devid: loop for loop in site.loops}
        path = loops[devid].device if self.disk.type == "file" else self.disk.path
        number = await site.host.xen(site.host.keeper.device_number, path)
        device = vbd(self.disk, path, number)
        await plug(site, device)
        await tell_connected(site, device)

    async def undo(self, site: Site) -> None:
        if site.domid is not None:
            await close(site, DOM0, "vbd", device_number(self.disk.virtpath))


@dataclass(frozen=True)
class PlugNic(Step):
    nic: Nic

    @property
    def title(self) -> str:
        return f"PlugNic {self.nic.id}"

    async def do(self, site: Site) -> None:
        device = vif(self.nic)
        await plug(site, device)
        interface = device.interface(site.guest)
        await _appears(site, interface)
        await site.host.xen(site.host.keeper.join_bridge, interface, self.nic.bridge)
        await tell_connected(site, device)

    async def undo(self, site: Site) -> None:
        if site.domid is not None:
            await close(site, DOM0, "vif", self.nic.id or 0)


async def plug(site: Site, device: Device) -> None:
    """Write both ends and wait for the backend.  Raises DeviceTimeout, DeviceError."""
    front, back = device.frontend_path(site.guest), device.backend_path(site.guest)
    await site.host.write(nodes(device, site.guest), first_remove=(front, back))
    name, limit_s = f"{device.kind} {device.devid}", site.host.settings.backend_s
    try:
        state = await site.host.store.wait_until(paths.state(back), _has_answered, limit_s)
    except TimeoutError:
        why = await _reason(site, back)
        raise DeviceTimeout(f"no backend for {name} after {limit_s:.0f} s{why}") from None
    if state not in READY:
        why = await _reason(site, back)
        raise DeviceError(f"the backend of {name} refuses it{why}")


def _has_answered(state: str | None) -> bool:
    return state is None or state in READY or state in FAILED


async def _reason(site: Site, back: str) -> str:
    """What the backend says of its failure.  Source: Linux, xenbus_dev_error."""
    text = await site.host.store.read(f"{error_path(back)}/error")
    return f": {text}" if text else ""


async def tell_connected(site: Site, device: Device) -> None:
    """The word of a hotplug script: the host's side is ready."""
    await site.host.store.write(f"{device.backend_path(site.guest)}/hotplug-status", "connected")


async def _appears(site: Site, interface: str) -> None:
    """netback makes it a moment after it says that it is ready, and nothing in XenStore tells of it."""
    settings = site.host.settings
    try:
        async with asyncio.timeout(settings.backend_s):
            while not await site.host.xen(site.host.keeper.has_interface, interface):  # noqa: ASYNC110
                await asyncio.sleep(settings.backend_poll_s)
    except TimeoutError:
        raise DeviceTimeout(f"no interface {interface} after {settings.backend_s:.0f} s") from None
