# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a device's backend is waited for.

dom0's is there, or never comes.  Another domain may have to boot first, and may end instead.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from openxt_core.ids import DOM0
from openxt_xen.xenstore import paths
from openxt_xenvm.devices.base import Device
from openxt_xenvm.errors import DeviceError
from openxt_xenvm.site import Site


def limit_s(site: Site, device: Device) -> float:
    settings = site.host.settings
    return settings.backend_s if device.backend_domid == DOM0 else settings.backend_domain_s


async def until(site: Site, device: Device, path: str, accept: Callable[[str | None], bool]) -> str | None:
    """The first value of `path` that `accept` likes.  TimeoutError; DeviceError when none can come."""
    answer = asyncio.ensure_future(site.host.store.wait_until(path, accept, limit_s(site, device)))
    waiting: list[asyncio.Future[Any]] = [answer]
    if device.backend_domid != DOM0:
        waiting.append(asyncio.ensure_future(_one_ends(site, device)))
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else waiting[-1].result()
    finally:
        for future in waiting:
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)  # they take their watches back


async def _one_ends(site: Site, device: Device) -> None:
    """Raises DeviceError once the backend's domain or the guest has ended."""
    changed = asyncio.Event()
    watch = await site.host.store.watch(paths.RELEASE_DOMAIN, lambda _: changed.set())
    try:
        while True:
            for domid in (device.backend_domid, site.created):
                info = await site.host.xen(site.host.hypervisor.info, domid)
                if info is None or info.is_dead:
                    raise DeviceError(f"domain {domid} ended before {device.kind} {device.devid} was served")
            await changed.wait()
            changed.clear()
    finally:
        await watch.close()
