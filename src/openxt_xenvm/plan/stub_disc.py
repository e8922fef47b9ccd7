# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that change the disc in a CD drive of a domain's stub domain.  Without one they do nothing.

The device model in it follows the drive's backend: without `params` it lets go of the disc, with new ones it
takes another.  Source: OpenXT xenops, 2015.
"""

from dataclasses import dataclass

from openxt_core.ids import Domid
from openxt_xen.xenstore import paths
from openxt_xenvm.config.model import Disk
from openxt_xenvm.devices.numbers import device_number
from openxt_xenvm.domain.nodes import Node
from openxt_xenvm.plan.plugging import PlugDisk
from openxt_xenvm.plan.steps import Reversed, Step
from openxt_xenvm.plan.stub_site import seen_by_stubdom, stub_sites
from openxt_xenvm.plan.unplugging import AskToClose
from openxt_xenvm.site import Site


@dataclass(frozen=True)
class AskStubdom(Step):
    """Its device model and its kernel let go of the disc.  Raises DeviceTimeout."""

    disk: Disk

    async def do(self, site: Site) -> None:
        backend, devid = Domid(self.disk.backend_domid), device_number(self.disk.virtpath)
        for stub in await stub_sites(site):
            await self._tell(stub, "", "")
            await AskToClose(backend, "vbd", devid).do(stub)

    async def undo(self, site: Site) -> None:
        disc = seen_by_stubdom(self.disk, site)
        for stub in await stub_sites(site):
            await self._tell(stub, disc.type, disc.path)

    async def _tell(self, stub: Site, type_: str, params: str) -> None:
        backend, devid = Domid(self.disk.backend_domid), device_number(self.disk.virtpath)
        back = paths.backend(backend, "vbd", stub.created, devid)
        if await stub.host.store.read(back) is not None:
            await stub.host.write((Node(f"{back}/type", type_), Node(f"{back}/params", params)))


@dataclass(frozen=True)
class PlugStubDisc(Step):
    disk: Disk

    async def do(self, site: Site) -> None:
        for stub in await stub_sites(site):
            await PlugDisk(seen_by_stubdom(self.disk, site)).do(stub)

    async def undo(self, site: Site) -> None:
        for stub in await stub_sites(site):
            await PlugDisk(self.disk).undo(stub)


def plan_stub_eject(disk: Disk) -> tuple[Step, ...]:
    return (AskStubdom(disk), Reversed(PlugStubDisc(disk))) if disk.path else ()


def plan_stub_insert(disk: Disk) -> tuple[Step, ...]:
    """Nothing for a drive that is empty."""
    return (PlugStubDisc(disk),) if disk.path else ()
