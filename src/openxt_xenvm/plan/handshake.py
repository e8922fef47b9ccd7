# SPDX-License-Identifier: GPL-2.0-or-later
"""The word of a hotplug script, for devices whose host's side is not ours to make ready.

That is: backends in other domains, and cards that the network daemon connects.  The script of the
backend's domain (scripts/udev) writes into a folder that only its domain and dom0 may write, and takes its
word back when the backend is gone.  For all other devices dom0's side is made by `plugging`: no script.
Source: OpenXT xenops, 2015.
"""

from openxt_core.ids import DOM0, Domid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStoreError
from openxt_xen.xenstore.wire import Permission
from openxt_xenvm.devices.base import Device
from openxt_xenvm.domain.nodes import Node
from openxt_xenvm.errors import DeviceError, DeviceTimeout
from openxt_xenvm.plan import patience
from openxt_xenvm.site import Host, Site

REFUSED = "error"
"""Instead of `online`; why is in the backend's `hotplug-error`, as with Xen's own scripts.  Ours."""

CONNECTED = "connected"
"""In a backend's `hotplug-status`: the host's side is ready."""


def folder(device: Device, domid: Domid) -> str:
    return paths.hotplug(domid, device.backend_kind, device.devid)


def invitation(device: Device, domid: Domid) -> tuple[Node, ...]:
    """The folder, empty: to be written together with the device's nodes."""
    return (
        Node(paths.hotplug_of(domid), access=(Permission(DOM0, "n"),)),
        Node(folder(device, domid), access=(Permission(device.backend_domid, "n"),)),
    )


async def servers(host: Host, domid: Domid) -> frozenset[Domid]:
    """Whose scripts were invited: they own the folders, which no guest can change as it can its frontends."""
    store, top, found = host.store, f"{paths.hotplug_of(domid)}/hotplug", set[Domid]()
    for kind in await store.list(top):
        for devid in await store.list(f"{top}/{kind}"):
            try:
                owner, *_ = await store.get_permissions(f"{top}/{kind}/{devid}")
            except XenStoreError as error:
                if error.name != "ENOENT":
                    raise
            else:
                found.add(owner.domid)
    return frozenset(found)


async def online(site: Site, device: Device) -> None:
    """Until the script has spoken.  Raises DeviceTimeout; DeviceError when it refuses, or its domain ends."""
    name = f"{device.kind} {device.devid}"
    word = paths.hotplug_done(site.created, device.backend_kind, device.devid)
    try:
        said = await patience.until(site, device, word, lambda value: value is not None)
    except TimeoutError:
        limit_s = patience.limit_s(site, device)
        raise DeviceTimeout(
            f"no hotplug script of domain {device.backend_domid} reported {name} within {limit_s:.0f} s"
        ) from None
    if said == REFUSED:
        text = await site.host.store.read(f"{device.backend_path(site.guest)}/hotplug-error") or ""
        raise DeviceError(f"domain {device.backend_domid} refuses {name}: {text[:200]}")


async def offline(site: Site, kind: str, devid: int) -> None:
    """Until the script has taken its word back, but not for ever; then the folder goes."""
    word = paths.hotplug_done(site.created, kind, devid)
    try:
        await site.host.store.wait_until(word, lambda value: value is None, site.host.settings.closed_s)
    except TimeoutError:
        pass  # its domain may be gone
    await site.host.remove(paths.hotplug(site.created, kind, devid), up_to="")
