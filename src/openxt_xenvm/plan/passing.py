# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that give a domain parts of the machine: PCI devices, I/O ports, device memory.

A PCI device is taken from dom0's driver, set back, and then granted and plugged.  It stays with pciback when
the domain is gone, ready for the next start: dom0's own driver must not touch what a guest has used.
"""

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from openxt_core.errors import Unavailable
from openxt_core.ids import DOM0, Domid
from openxt_xen.hypervisor import XenError
from openxt_xen.xenstore import paths
from openxt_xenvm.config.model import PciAddress, Span
from openxt_xenvm.devices.pci import PCIBACK, Hardware, Pci, Resource, left_of, must_bind, number_of
from openxt_xenvm.errors import CannotUsePciWithNoPciback, DeviceError
from openxt_xenvm.plan.closing import close
from openxt_xenvm.plan.plugging import plug
from openxt_xenvm.plan.steps import Reversed, Step
from openxt_xenvm.plan.unplugging import AskToClose, Close
from openxt_xenvm.site import Site

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HidePci(Step):
    """Take the devices of a group from dom0's drivers.  Undone, they are given back to them."""

    pci: Pci

    @property
    def title(self) -> str:
        return f"HidePci {self.pci.devid}"

    async def do(self, site: Site) -> None:
        xen, keeper = site.host.xen, site.host.keeper.pci
        for member in self.pci.members:
            driver = await xen(keeper.driver, member.address)
            if driver == PCIBACK:
                continue
            if not must_bind(self.pci.members):
                raise CannotUsePciWithNoPciback(f"{member.address} belongs to {driver or 'no driver'}")
            site.hidden[member.address] = driver
            await xen(keeper.hide, member.address)

    async def undo(self, site: Site) -> None:
        for member in self.pci.members:
            if member.address in site.hidden:
                driver = site.hidden.pop(member.address)
                await site.host.xen(site.host.keeper.pci.give_back, member.address, driver)


@dataclass(frozen=True)
class ResetPci(Step):
    """Nothing of a former owner shall be left in it.  One that cannot be reset is used all the same."""

    address: PciAddress

    @property
    def title(self) -> str:
        return f"ResetPci {self.address}"

    async def do(self, site: Site) -> None:
        try:
            await site.host.xen(site.host.keeper.pci.reset, self.address)
        except Unavailable as error:
            log.warning("%s", error)


@dataclass(frozen=True)
class GrantPci(Step):
    """What the device uses of the machine, and, if `is_assigned`, its way into the domain's memory."""

    address: PciAddress
    is_assigned: bool = True

    @property
    def title(self) -> str:
        return f"GrantPci {self.address}"

    async def do(self, site: Site) -> None:
        await site.host.xen(self._grant, site)

    def _grant(self, site: Site) -> None:
        xen, domid = site.host.hypervisor, site.created
        hardware = site.host.keeper.pci.hardware(self.address)
        if self.is_assigned and xen.physinfo().has_directio:
            self._assign(site)
        for resource in hardware.resources:
            allow(site, resource, allowed=True)
        if hardware.irq:
            pirq = xen.map_interrupt(domid, hardware.irq)
            xen.allow_interrupt(domid, pirq, allow=True)

    def _assign(self, site: Site) -> None:
        try:
            site.host.hypervisor.assign_device(site.created, number_of(self.address))
        except XenError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            had_none = f"domain {site.created} had no PCI device when it was made, and so no use of the IOMMU"
            raise DeviceError(f"pci {self.address}: {had_none}; at its next start it can have one") from error

    async def undo(self, site: Site) -> None:
        """Each part by itself: the domain may have had only some of them, or be gone."""
        if site.domid is not None:
            await site.host.xen(self._revoke, site)

    def _revoke(self, site: Site) -> None:
        """But for pages and interrupt lines that devices which stay with the domain use, too."""
        xen, domid = site.host.hypervisor, site.created
        hardware, others = site.host.keeper.pci.hardware(self.address), tuple(self._others(site))
        _try(lambda: xen.deassign_device(domid, number_of(self.address)))
        shared = [resource for other in others for resource in other.resources]
        for resource in (part for whole in hardware.resources for part in left_of(whole, shared)):
            _try(lambda: allow(site, resource, allowed=False))  # noqa: B023 - called at once
        if hardware.irq and hardware.irq not in {other.irq for other in others}:
            _try(lambda: xen.allow_interrupt(domid, hardware.irq, allow=False))
            _try(lambda: xen.unmap_interrupt(domid, hardware.irq))

    def _others(self, site: Site) -> Iterator[Hardware]:
        for address in site.given:
            if address != self.address:
                with suppress(DeviceError):  # pulled out of the machine
                    yield site.host.keeper.pci.hardware(address)


@dataclass(frozen=True)
class PlugPci(Step):
    """Both ends of a group; pciback has its devices ready when it says so."""

    pci: Pci

    @property
    def title(self) -> str:
        return f"PlugPci {self.pci.devid}"

    async def do(self, site: Site) -> None:
        await plug(site, self.pci)

    async def undo(self, site: Site) -> None:
        if site.domid is not None:
            await close(site, self.pci.backend_domid, self.pci.kind, self.pci.devid)


@dataclass(frozen=True)
class AllowSpan(Step):
    """Ports or bytes of device memory, as the config names them."""

    span: Span
    is_ports: bool

    @property
    def title(self) -> str:
        return f"AllowSpan {'ports' if self.is_ports else 'memory'} {self.span.first:#x}-{self.span.last:#x}"

    async def do(self, site: Site) -> None:
        resource = Resource(self.span.first, self.span.last, self.is_ports)
        await site.host.xen(allow, site, resource, allowed=True)


def allow(site: Site, resource: Resource, *, allowed: bool) -> None:
    """Whether the domain may use it.  Blocks."""
    if resource.is_ports:
        count = resource.last - resource.first + 1
        site.host.hypervisor.allow_ports(site.created, resource.first, count, allow=allowed)
    else:
        first, count = resource.frames
        site.host.hypervisor.allow_frames(site.created, first, count, allow=allowed)


def _try(call: Callable[[], None]) -> None:
    try:
        call()
    except XenError as error:
        log.debug("%s", error)


def plan_pci(pci: Pci) -> Iterator[Step]:
    yield from plan_grant(pci)
    yield PlugPci(pci)


def plan_grant(pci: Pci) -> Iterator[Step]:
    """Up to where only the domain's driver has to find it."""
    yield HidePci(pci)
    yield from (ResetPci(member.address) for member in pci.members)
    yield from (GrantPci(member.address) for member in pci.members)


def plan_unplug_pci(pci: Pci, *, forced: bool) -> tuple[Step, ...]:
    asked = () if forced else (AskToClose(pci.backend_domid, pci.kind, pci.devid),)
    taken = (step for m in pci.members for step in (Reversed(GrantPci(m.address)), ResetPci(m.address)))
    return (*asked, Close(pci.backend_domid, pci.kind, pci.devid), *taken)


@dataclass(frozen=True)
class ResetGiven(Step):
    """What the domain leaves behind in its devices."""

    async def do(self, site: Site) -> None:
        for address in site.given:
            if await site.host.xen(site.host.keeper.pci.driver, address) == PCIBACK:
                await ResetPci(address).do(site)


async def pci_in_use(site: Site) -> dict[str, Domid]:
    """The domain of every device that pciback serves to another."""
    store, folder, found = site.host.store, f"{paths.backends(DOM0)}/pci", dict[str, Domid]()
    for domid in await store.list(folder):
        if domid == str(site.domid):
            continue
        for devid in await store.list(f"{folder}/{domid}"):
            for key in await store.list(f"{folder}/{domid}/{devid}"):
                if key.startswith("dev-"):
                    name = await store.read(f"{folder}/{domid}/{devid}/{key}") or ""
                    found[name.partition("@")[0]] = Domid(int(domid))
    return found
