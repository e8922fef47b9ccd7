# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that give a built domain its disks and network cards, each with what undoes it.

Each waits until the backend is ready for the guest.  What a host's hotplug script would do for a backend of
dom0 is done here; for the others see `handshake`.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from openxt_core.errors import Unavailable
from openxt_core.ids import Domid
from openxt_xen.xenstore import paths
from openxt_xenvm.config.model import Disk, Nic
from openxt_xenvm.devices.backing import Attachment, Layer, layers
from openxt_xenvm.devices.base import Device, XenbusState, nodes
from openxt_xenvm.devices.numbers import device_number
from openxt_xenvm.devices.vbd import vbd
from openxt_xenvm.devices.vif import Vif, vif
from openxt_xenvm.domain.nodes import Node
from openxt_xenvm.errors import DeviceError, DeviceTimeout, MountFailure
from openxt_xenvm.plan import handshake, patience
from openxt_xenvm.plan.closing import close, detach, error_path
from openxt_xenvm.plan.steps import Step
from openxt_xenvm.site import Site

ATTEMPTS = 32
FAILED = frozenset({str(XenbusState.CLOSING), str(XenbusState.CLOSED)})


def plan_disks(
    disks: Iterable[Disk], *, with_inquiries: bool = False, has_stubdom: bool = False
) -> Iterator[Step]:
    """A drive without a disc has nothing to be plugged.

    `with_inquiries`: the guest reads what the host's SCSI disks say of themselves.
    """
    for disk in disks:
        if disk.path:
            yield from (Attach(disk, layer, level) for level, layer in enumerate(layers(disk)))
            yield PlugDisk(disk, with_inquiries and disk.type == "phy", has_stubdom)


@dataclass(frozen=True)
class Attach(Step):
    """One layer above the disk's image, or above the layer before.  It is written down before it is made."""

    disk: Disk
    layer: Layer
    level: int

    @property
    def title(self) -> str:
        return f"Attach {self.layer} {self.disk.virtpath}"

    async def do(self, site: Site) -> None:
        xen, keeper, devid = site.host.xen, site.host.keeper, device_number(self.disk.virtpath)
        source = await _uppermost(site, self.disk)
        for _ in range(ATTEMPTS):
            proposed = await xen(keeper.propose, self.layer, self.disk, source)
            made = Attachment(devid, self.level, self.layer, proposed, source)
            site.remember(made)
            device = await self._attach(site, made)
            if device == proposed:
                return
            if device:
                site.remember(replace(made, device=device))
            site.forget(made)
            if device:
                return
        raise Unavailable(f"disk {self.disk.virtpath}: others took {ATTEMPTS} devices before us")

    async def _attach(self, site: Site, made: Attachment) -> str:
        try:
            return await site.host.xen(site.host.keeper.attach, made, self.disk, site.uuid)
        except DeviceError as error:
            raise MountFailure(*error.arguments) from error

    async def undo(self, site: Site) -> None:
        for made in site.below(device_number(self.disk.virtpath)):
            if made.level == self.level:
                await detach(site, made)


async def _uppermost(site: Site, disk: Disk) -> str:
    """What the next layer stands on: the device of the last one, or the image itself."""
    below = site.below(device_number(disk.virtpath))
    return below[0].device if below else await site.host.xen(site.host.keeper.real_path, disk.path)


@dataclass(frozen=True)
class PlugDisk(Step):
    may_be_cancelled: ClassVar[bool] = True

    disk: Disk
    with_inquiries: bool = False
    has_stubdom: bool = False

    @property
    def title(self) -> str:
        return f"PlugDisk {self.disk.virtpath}"

    async def do(self, site: Site) -> None:
        if self.disk.backend_domid:
            await plug_by_script(site, vbd(self.disk))
            return
        path = await _uppermost(site, self.disk)
        number = await site.host.xen(site.host.keeper.device_number, path)
        keeper = site.host.keeper
        inquiries = await site.host.xen(keeper.inquiries, path, number) if self.with_inquiries else ()
        device = vbd(self._shown(), number, site.below(device_number(self.disk.virtpath)), inquiries)
        await plug(site, device)
        await tell_connected(site, device)

    async def undo(self, site: Site) -> None:
        if site.domid is not None:
            backend = Domid(self.disk.backend_domid)
            await close(site, backend, "vbd", device_number(self.disk.virtpath))

    def _shown(self) -> Disk:
        """As the device model sees it: in a stub domain as that one's own.  Source: OpenXT xenops, 2015."""
        if not self.has_stubdom:
            return self.disk
        return replace(self.disk, type="phy", path=f"/dev/{self.disk.virtpath}")


@dataclass(frozen=True)
class PlugNic(Step):
    may_be_cancelled: ClassVar[bool] = True

    nic: Nic

    @property
    def title(self) -> str:
        return f"PlugNic {self.nic.id}"

    async def do(self, site: Site) -> None:
        device = vif(self.nic)
        if device.is_by_script:
            await plug_by_script(site, device)
            await self._name_network(site, device)
        else:
            await plug(site, device)
            interface = device.interface(site.guest)
            await _appears(site, interface)
            await site.host.xen(site.host.keeper.join_bridge, interface, self.nic.bridge)
        await tell_connected(site, device)

    async def _name_network(self, site: Site, device: Vif) -> None:
        """Whoever connects it finds the network's object path where a bridge's name would be, sic."""
        if not device.network:
            return
        await site.host.store.write(f"{device.backend_path(site.guest)}/bridge", device.network)

    async def undo(self, site: Site) -> None:
        if site.domid is not None:
            await close(site, Domid(self.nic.backend_domid), "vif", self.nic.id or 0)


async def plug(site: Site, device: Device, more: Iterable[Node] = ()) -> None:
    """Write both ends and wait for the backend.  Raises DeviceTimeout, DeviceError."""
    site.use_backend(device.backend_domid)
    front, back = device.frontend_path(site.guest), device.backend_path(site.guest)
    await site.host.store.rm(front)  # outside of the transaction: its guest may be writing there
    await site.host.write((*more, *nodes(device, site.guest)), first_remove=(back,))
    name = f"{device.kind} {device.devid}"
    ready = frozenset(map(str, device.ready))

    def has_answered(state: str | None) -> bool:
        return state is None or state in ready or state in FAILED

    try:
        state = await patience.until(site, device, paths.state(back), has_answered)
    except TimeoutError:
        why = await reason(site, back)
        limit_s = patience.limit_s(site, device)
        raise DeviceTimeout(f"no backend for {name} after {limit_s:.0f} s{why}") from None
    if state not in ready:
        why = await reason(site, back)
        raise DeviceError(f"the backend of {name} refuses it{why}")


async def plug_by_script(site: Site, device: Device) -> None:
    """The backend's domain makes its side ready by itself."""
    info = await site.host.xen(site.host.hypervisor.info, device.backend_domid)
    device = replace(device, backend_uuid=info.uuid) if info is not None else device
    await site.host.store.rm(handshake.folder(device, site.created))
    await plug(site, device, handshake.invitation(device, site.created))
    await handshake.online(site, device)


async def reason(site: Site, back: str) -> str:
    """What the backend says of its failure.  Source: Linux, xenbus_dev_error."""
    text = await site.host.store.read(f"{error_path(back)}/error")
    return f": {text[:200]}" if text else ""


async def tell_connected(site: Site, device: Device) -> None:
    """The word of a hotplug script: the host's side is ready."""
    await site.host.store.write(f"{device.backend_path(site.guest)}/hotplug-status", handshake.CONNECTED)


async def _appears(site: Site, interface: str) -> None:
    """netback makes it a moment after it says that it is ready, and nothing in XenStore tells of it."""
    settings = site.host.settings
    try:
        async with asyncio.timeout(settings.backend_s):
            while not await site.host.xen(site.host.keeper.has_interface, interface):  # noqa: ASYNC110
                await asyncio.sleep(settings.backend_poll_s)
    except TimeoutError:
        raise DeviceTimeout(f"no interface {interface} after {settings.backend_s:.0f} s") from None
