# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that take a device from a domain that lives on.  Nothing of them can be undone, all be repeated.

Clean: the backend is asked to close, and closes once the guest lets go.  A guest that does not in time
keeps the device, and loses it when it lets go later.  Forced: as when the domain ends.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from openxt_core.ids import Domid
from openxt_xen.xenstore import paths
from openxt_xenvm.devices.base import XenbusState
from openxt_xenvm.errors import DeviceTimeout
from openxt_xenvm.plan.closing import (
    CLOSED,
    CLOSING,
    CONNECTED,
    FRONTENDS,
    UNTAKEN,
    ask_to_close,
    close,
    detach,
)
from openxt_xenvm.plan.steps import Step
from openxt_xenvm.site import Site

WAITING: Final = frozenset({str(XenbusState.INIT_WAIT), str(XenbusState.INITIALISED)})
"""States of a backend that is ready for a guest: the guest's own end tells whether one has come."""

TAKING: Final = frozenset({str(XenbusState.INITIALISED), CONNECTED, CLOSING})
"""States of a frontend whose guest has come for the device."""


@dataclass(frozen=True)
class AskToClose(Step):
    """Raises DeviceTimeout when the guest goes on using it: the request stands, see `withdraw`."""

    may_be_cancelled: ClassVar[bool] = True

    backend: Domid
    kind: str
    devid: int

    @property
    def title(self) -> str:
        return f"AskToClose {self.kind} {self.devid}"

    async def do(self, site: Site) -> None:
        store, limit_s = site.host.store, site.host.settings.unplug_s
        back = paths.backend(self.backend, self.kind, site.created, self.devid)
        if not await self._is_taken(site, back) or not await ask_to_close(site, back):
            return
        try:
            await store.wait_until(paths.state(back), lambda state: state in (None, CLOSED), limit_s)
        except TimeoutError:
            who = f"the guest still uses {self.kind} {self.devid} after {limit_s:.0f} s"
            raise DeviceTimeout(f"{who}; forced=true takes it away all the same") from None

    async def _is_taken(self, site: Site, back: str) -> bool:
        """Also one that the guest was asked for before, and did not let go."""
        state = await site.host.store.read(paths.state(back))
        if state in WAITING:
            fronts = await _frontend_states(site, self.kind, self.devid)
            return not TAKING.isdisjoint(fronts)
        return state not in UNTAKEN


async def _frontend_states(site: Site, kind: str, devid: int) -> frozenset[str | None]:
    folders = (paths.frontend(site.created, word, devid) for word in FRONTENDS.get(kind, (kind,)))
    return frozenset([await site.host.store.read(paths.state(folder)) for folder in folders])


async def withdraw(site: Site, backend: Domid, kind: str, devid: int) -> bool:
    """The guest shall keep what it was asked for, if it was: one that has not answered finds all as before.

    True: it may have begun to let go.
    """
    store, back = site.host.store, paths.backend(backend, kind, site.created, devid)
    fronts = await _frontend_states(site, kind, devid)  # a guest that writes on and on disturbs nobody

    async def undo(tx: int) -> bool:
        state = await store.read(paths.state(back), tx)
        if state not in (CLOSING, CLOSED):
            return False
        await store.write(f"{back}/online", "1", tx)
        if state == CLOSING and CONNECTED in fronts:
            await store.write(paths.state(back), CONNECTED, tx)
        return True

    return await store.transact(undo)


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
