# SPDX-License-Identifier: GPL-2.0-or-later
"""How disks and network cards are taken from a domain that will not use them again.

The hard way: the guest's end goes before the backend is waited for, so that it lets go without asking the
guest.  A backend that does not is given up, for a domain must be able to end.

No transaction here touches what a guest may write: one that writes on and on would never let it commit.
"""

import logging
from collections.abc import Iterator
from typing import TypeAlias

from openxt_core.ids import DOM0, Domid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStoreError
from openxt_xenvm.devices.backing import Attachment
from openxt_xenvm.devices.base import XenbusState
from openxt_xenvm.devices.vbd import ATTACHED, attachments
from openxt_xenvm.plan.handshake import offline
from openxt_xenvm.site import Host, Site

log = logging.getLogger(__name__)

KINDS = ("vbd", "vif", "pci")
"""Those whose backends hold pages of the guest; all others end with their nodes."""

FRONTENDS = {"vif": ("vif", "vwif")}
"""Kinds of frontends of a kind of backend, where they differ."""

CLOSING, CLOSED = str(XenbusState.CLOSING), str(XenbusState.CLOSED)
CONNECTED = str(XenbusState.CONNECTED)
UNTAKEN = frozenset({None, str(XenbusState.UNKNOWN), str(XenbusState.INITIALISING), CLOSED})
"""States of a backend that nobody serves (yet, or any more)."""

Plugged: TypeAlias = tuple[Domid, str, int]
"""Backend domain, kind, devid."""


async def plugged(site: Site) -> tuple[Plugged, ...]:
    """What XenStore says the domain has."""
    found: list[Plugged] = []
    for backend in sorted(site.backends) if site.domid is not None else ():
        for kind in KINDS:
            names = await site.host.store.list(f"{paths.backends(backend)}/{kind}/{site.domid}")
            found += ((backend, kind, devid) for devid in _numbers(names))
    return tuple(found)


def _numbers(names: list[str]) -> Iterator[int]:
    yield from (int(name) for name in names if name.isascii() and name.isdecimal())


async def close(site: Site, backend: Domid, kind: str, devid: int) -> None:
    """Nothing of the device is left afterwards; doing it twice does no harm."""
    back = paths.backend(backend, kind, site.created, devid)
    fronts = [paths.frontend(site.created, word, devid) for word in FRONTENDS.get(kind, (kind,))]
    is_served = await _tell_to_close(site, back)
    for front in fronts:
        await site.host.remove(front, up_to=paths.frontends(site.created))
    if is_served:
        await _until_closed(site, back)
    await site.host.remove_backend(back)
    complaints = f"{paths.domain(backend)}/error"  # a guest has the folder from its start; dom0 has none
    await site.host.remove(error_path(back), up_to=complaints if backend else paths.domain(backend))
    await site.host.store.rm(paths.device_error_folder(site.created, kind, devid))
    if await site.host.store.list(paths.hotplug_of(site.created)):
        await offline(site, kind, devid)


async def _tell_to_close(site: Site, back: str) -> bool:
    """As `ask_to_close`; a domain that disturbs its own backend without end is not waited for."""
    try:
        return await ask_to_close(site, back)
    except XenStoreError as error:
        if error.name != "EAGAIN":
            raise
        log.warning("%s cannot be told to close: %s", back, error)
        return False


async def ask_to_close(site: Site, back: str) -> bool:
    """Have a backend close once the guest lets go, or its frontend is gone.  False: nobody serves it."""
    store = site.host.store

    async def begin(tx: int) -> bool:
        state = await store.read(paths.state(back), tx)
        if state not in UNTAKEN:
            await store.write(f"{back}/online", "0", tx)
            await store.write(paths.state(back), CLOSING, tx)
        return state not in UNTAKEN

    return await store.transact(begin)


def error_path(back: str) -> str:
    """Where a backend complains.  Source: Linux, xenbus_dev_error."""
    home, _, device = back.partition("/backend/")
    return f"{home}/error/backend/{device}"


async def _until_closed(site: Site, back: str) -> None:
    limit_s = site.host.settings.closed_s
    try:
        await site.host.store.wait_until(paths.state(back), lambda state: state in (None, CLOSED), limit_s)
    except TimeoutError:
        log.warning("%s did not close within %.0f s", back, limit_s)


async def detach(site: Site, made: Attachment) -> None:
    await site.host.xen(site.host.keeper.detach, made)
    site.forget(made)


async def attached_of(host: Host, domid: Domid) -> frozenset[Attachment]:
    """What stands below the disks of a domain whose record is lost, as dom0's own nodes tell."""
    folder, found = f"{paths.backends(DOM0)}/vbd/{domid}", set[Attachment]()
    for devid in _numbers(await host.store.list(folder)):
        found.update(attachments(devid, await host.store.read(f"{folder}/{devid}/{ATTACHED}") or ""))
    return frozenset(found)
