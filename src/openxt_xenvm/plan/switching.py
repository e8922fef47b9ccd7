# SPDX-License-Identifier: GPL-2.0-or-later
"""The step that takes a running domain's card to another network: all its interfaces of dom0, or none."""

from dataclasses import dataclass

from openxt_core.ids import Domid
from openxt_xen.xenstore import paths
from openxt_xenvm.config.model import Nic
from openxt_xenvm.devices.vif import interface_of
from openxt_xenvm.dm import qemu
from openxt_xenvm.plan.steps import Step
from openxt_xenvm.site import Site


@dataclass(frozen=True)
class SwitchNetwork(Step):
    """From one place to another: each a bridge, or an object path, or empty."""

    nic: Nic
    before: str
    after: str

    async def do(self, site: Site) -> None:
        await self._move(site, self.after)

    async def undo(self, site: Site) -> None:
        await self._move(site, self.before)

    async def _move(self, site: Site, place: str) -> None:
        """Of an object path only its daemon knows the bridge.  It finds the backend's interface by itself,
        not the emulated card's: that one must not stay where it was, whatever comes of it.
        """
        xen, keeper = site.host.xen, site.host.keeper
        tap = qemu.tap_name(site.created, self.nic)
        bridge = place if is_bridge(self.nic, place) else ""
        if await xen(keeper.has_interface, tap):
            await (xen(keeper.join_bridge, tap, bridge) if bridge else xen(keeper.leave_bridge, tap))
        if bridge:
            await xen(keeper.join_bridge, interface_of(site.created, self.nic.id or 0), bridge)
        await site.host.store.write(f"{backend_of(site.created, self.nic)}/bridge", place)


def is_bridge(nic: Nic, place: str) -> bool:
    """Whether it is a bridge of dom0."""
    return bool(place) and not place.startswith("/") and not nic.backend_domid


def backend_of(domid: Domid, nic: Nic) -> str:
    return paths.backend(Domid(nic.backend_domid), "vif", domid, nic.id or 0)
