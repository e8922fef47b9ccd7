# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that take a device from a domain that lives on.  Nothing of them can be undone, all be repeated.

Clean: the backend is asked to close, and closes once the guest lets go.  A guest that does not in time
keeps the device, and loses it when it lets go later.  Forced: as when the domain ends.
"""

from dataclasses import dataclass

from openxt_core.ids import Domid
from openxt_xen.xenstore import paths
from openxt_xenvm.errors import DeviceTimeout
from openxt_xenvm.plan.closing import CLOSED, CONNECTED, ask_to_close, close, detach
from openxt_xenvm.plan.steps import Step
from openxt_xenvm.site import Site


@dataclass(frozen=True)
class AskToClose(Step):
    """Raises DeviceTimeout when the guest goes on using it."""

    backend: Domid
    kind: str
    devid: int

    @property
    def title(self) -> str:
        return f"AskToClose {self.kind} {self.devid}"

    async def do(self, site: Site) -> None:
        store, limit_s = site.host.store, site.host.settings.unplug_s
        back = paths.backend(self.backend, self.kind, site.created, self.devid)
        if await store.read(paths.state(back)) != CONNECTED or not await ask_to_close(site, back):
            return  # the guest has not taken it up
        try:
            await store.wait_until(paths.state(back), lambda state: state in (None, CLOSED), limit_s)
        except TimeoutError:
            who = f"the guest still uses {self.kind} {self.devid} after {limit_s:.0f} s"
            raise DeviceTimeout(f"{who}; forced=true takes it away all the same") from None


@dataclass(frozen=True)
class Close(Step):
    """The nodes of both ends go, in any case."""

    backend: Domid
    kind: str
    devid: int

    @property
    def title(self) -> str:
        return f"Close {self.kind} {self.devid}"

    async def do(self, site: Site) -> None:
        await close(site, self.backend, self.kind, self.devid)


@dataclass(frozen=True)
class Detach(Step):
    """What stands below one disk, from above."""

    devid: int

    @property
    def title(self) -> str:
        return f"Detach {self.devid}"

    async def do(self, site: Site) -> None:
        for made in site.below(self.devid):
            await detach(site, made)


def plan_unplug(kind: str, devid: int, backend: Domid, *, forced: bool) -> tuple[Step, ...]:
    """For disks and network cards."""
    asked = () if forced else (AskToClose(backend, kind, devid),)
    below = (Detach(devid),) if kind == "vbd" else ()
    return (*asked, Close(backend, kind, devid), *below)
