# SPDX-License-Identifier: GPL-2.0-or-later
"""Where steps work on a domain's stub domain, and how that is found.

By its uuid in Xen's own list, which the record keeps: the stub domain and its guest may write and remove much
of what stands in XenStore.
"""

from dataclasses import replace

from openxt_core.ids import Domid, Uuid
from openxt_xen.xenstore import paths
from openxt_xenvm.config.model import Disk
from openxt_xenvm.devices.numbers import device_number
from openxt_xenvm.site import Host, Site


async def stub_sites(site: Site) -> tuple[Site, ...]:
    """One, or none; more only if somebody else made a domain with the same uuid.

    Its backends are the guest's.
    """
    if site.stubdom is None:
        return ()
    domains = await site.host.xen(site.host.hypervisor.domains)
    empty = Site(site.host, site.stubdom, lambda _: None, lambda _: None)
    shared = replace(empty, backends=site.backends, save=site.save)
    return tuple(replace(shared, domid=info.domid) for info in domains if info.uuid == site.stubdom)


async def stubdom_of(host: Host, domid: Domid) -> Uuid | None:
    """Of a domain whose record is lost, as nodes tell that only dom0 writes.

    Only a stub domain that knows the domain as well counts: domids are used again.
    """
    text = await host.store.read(paths.stubdomid(domid)) or ""
    if not (text.isascii() and text.isdecimal()):
        return None
    stub = Domid(int(text))
    if await host.store.read(paths.target(stub)) != str(domid):
        return None
    info = await host.xen(host.hypervisor.info, stub)
    return None if info is None else info.uuid


def seen_by_stubdom(disk: Disk, site: Site) -> Disk:
    """A disk of the guest as dom0 has opened it: what stands below is there once, for both domains."""
    below = site.below(device_number(disk.virtpath))
    path = below[0].device if below else disk.path
    return Disk(path, "phy", disk.virtpath, disk.writable, disk.is_cdrom, backend_domid=disk.backend_domid)
