# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VM a domain is, as XenStore tells: domid ↔ uuid, stub domain → the domain that it serves.

Reads only nodes that the toolstack writes and guests cannot.
"""

import asyncio

from openxt_core.errors import BadRequest
from openxt_core.ids import DOM0, DOM0_UUID, Domid, Uuid, parse_uuid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStore


async def uuid_of(xs: XenStore, domid: Domid) -> Uuid | None:
    """The VM of a domain; None when there is no such domain or it is not one of a toolstack."""
    if domid == DOM0:
        return DOM0_UUID
    link = await xs.read(paths.vm_link(domid))
    if link is None or not link.startswith(paths.VMS + "/"):
        return None
    try:
        return parse_uuid(link.removeprefix(paths.VMS + "/"))
    except BadRequest:
        return None


async def domid_of(xs: XenStore, uuid: Uuid) -> Domid | None:
    """The domain of a VM; the greatest number when a former domain still goes away."""
    names = await xs.list(paths.DOMAINS)
    domids = [Domid(int(name)) for name in names if name.isascii() and name.isdigit()]
    uuids = await asyncio.gather(*(uuid_of(xs, domid) for domid in domids))
    return max((domid for domid, found in zip(domids, uuids, strict=True) if found == uuid), default=None)


async def target_of(xs: XenStore, domid: Domid) -> Domid | None:
    """The domain whose device model runs in stub domain `domid`; None for any other domain."""
    target = await xs.read(paths.target(domid))
    return Domid(int(target)) if target is not None and target.isascii() and target.isdigit() else None
