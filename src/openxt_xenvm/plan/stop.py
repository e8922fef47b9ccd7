# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that end a domain and take away everything it had.

Nothing here can be undone: each step is tried, whatever became of those before it.  A step that finds the
domid in another VM's hands leaves it alone.
"""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from openxt_core.errors import OpenxtError
from openxt_core.ids import DOM0, Domid
from openxt_xen.hypervisor import XenError
from openxt_xen.xenstore import paths
from openxt_xenvm.errors import DomainStuckDying
from openxt_xenvm.plan import handshake
from openxt_xenvm.plan.agents import stop_agents
from openxt_xenvm.plan.closing import attached_of, close, detach, plugged
from openxt_xenvm.plan.device_model import stop_qemu
from openxt_xenvm.plan.passing import ResetGiven
from openxt_xenvm.plan.steps import Step, destroy, remove_home, remove_model_nodes
from openxt_xenvm.plan.stub_site import stub_sites
from openxt_xenvm.site import Site

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PauseDomain(Step):
    """It must not write to disks that are about to go.  One without disks and cards just ends."""

    async def do(self, site: Site) -> None:
        if site.domid is None or not await plugged(site) or not await _is_running(site, site.domid):
            return
        try:
            await site.host.xen(site.host.hypervisor.pause, site.domid)
        except XenError as error:
            if error.errno != errno.ESRCH:
                raise


@dataclass(frozen=True)
class StopModel(Step):
    """Before the domain goes: the device model maps its pages.

    One that had a model has its node until all of it is gone; but a stub domain can remove its guest's.
    """

    async def do(self, site: Site) -> None:
        if site.domid is None or await _is_of_others(site, site.domid):
            await do_each((stop_stubdom, forget_stubdom), site)
            return
        node = paths.device_model(DOM0, site.domid)
        if site.stubdom is not None or await site.host.store.read(node) is not None:
            await do_each((stop_agents, stop_stubdom, stop_qemu, remove_model_nodes, forget_stubdom), site)


@dataclass(frozen=True)
class CloseDevices(Step):
    """Before the domain goes: Xen keeps a domain whose pages a backend still maps."""

    async def do(self, site: Site) -> None:
        if site.domid is None or await _is_of_others(site, site.domid):
            return
        await _learn_devices(site, site.domid)
        closings = [close(site, *device) for device in await plugged(site)]
        for failure in await asyncio.gather(*closings, return_exceptions=True):
            if failure is not None:
                raise failure


@dataclass(frozen=True)
class DetachDisks(Step):
    """Unless the domain or its stub domain lives on, and may still use them."""

    async def do(self, site: Site) -> None:
        if site.stubdom is not None or (site.domid is not None and await _lives(site, site.domid)):
            return
        for made in sorted(site.attached, key=lambda made: -made.level):
            await detach(site, made)


@dataclass(frozen=True)
class DestroyDomain(Step):
    async def do(self, site: Site) -> None:
        if site.domid is not None and await is_ours(site, site.domid):
            await destroy(site.host, site.domid)


@dataclass(frozen=True)
class RemoveNodes(Step):
    """Backends first: then nothing points at a home that is gone.  Not while a domain lives there."""

    async def do(self, site: Site) -> None:
        if site.domid is None or not await _is_free(site, site.domid):
            return
        for backend in sorted(site.backends):
            await self._remove_backends(site, backend, site.domid)
        await remove_home(site)

    async def _remove_backends(self, site: Site, backend: Domid, domid: Domid) -> None:
        """Also folders that are empty: a monitor that was killed may have left them."""
        folder, top = paths.backends(backend), paths.domain(backend)
        for kind in await site.host.store.list(folder):
            domids = await site.host.store.list(f"{folder}/{kind}")
            if str(domid) in domids:
                await site.host.remove(f"{folder}/{kind}/{domid}", up_to=top)
            elif not domids:
                await site.host.prune(f"{folder}/{kind}", up_to=top)
        await site.host.prune(folder, up_to=top)


@dataclass(frozen=True)
class WaitGone(Step):
    """Xen keeps a destroyed domain in its list while somebody still holds a page of it."""

    async def do(self, site: Site) -> None:
        changed = asyncio.Event()
        watch = await site.host.store.watch(paths.RELEASE_DOMAIN, lambda _: changed.set())
        try:
            async with asyncio.timeout(site.host.settings.gone_s):
                while site.domid is not None and await _is_dying(site, site.domid):
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            raise DomainStuckDying(f"domain {site.domid}") from None
        finally:
            await watch.close()


async def _is_dying(site: Site, domid: Domid) -> bool:
    info = await site.host.xen(site.host.hypervisor.info, domid)
    return info is not None and info.uuid == site.uuid and info.dying


async def _learn_devices(site: Site, domid: Domid) -> None:
    """Those that somebody else gave the domain, as `xenops` does, are in no record of ours yet."""
    for made in await attached_of(site.host, domid) - site.attached:
        site.remember(made)
    for backend in await handshake.servers(site.host, domid):
        site.use_backend(backend)


async def _is_free(site: Site, domid: Domid) -> bool:
    """No domain has this number, or only the remains of ours."""
    info = await site.host.xen(site.host.hypervisor.info, domid)
    return info is None or (info.uuid == site.uuid and info.dying)


async def _lives(site: Site, domid: Domid) -> bool:
    return await is_ours(site, domid) and not await _is_dying(site, domid)


async def _is_running(site: Site, domid: Domid) -> bool:
    info = await site.host.xen(site.host.hypervisor.info, domid)
    ours = info is not None and info.uuid == site.uuid
    return ours and info is not None and not (info.paused or info.dying or info.shutdown is not None)


async def _is_of_others(site: Site, domid: Domid) -> bool:
    info = await site.host.xen(site.host.hypervisor.info, domid)
    return info is not None and info.uuid != site.uuid


async def is_ours(site: Site, domid: Domid) -> bool:
    """Whether the domain that has this number now is the VM's.  Numbers are used again."""
    info = await site.host.xen(site.host.hypervisor.info, domid)
    return info is not None and info.uuid == site.uuid


async def stop_stubdom(site: Site) -> None:
    """Nothing is left of the domain's stub domain."""
    for stub in await stub_sites(site):
        await do_each([step.do for step in STUBDOM_STOP], stub)


async def forget_stubdom(site: Site) -> None:
    """Unless it lives on: then it is still to be ended."""
    living = [stub for stub in await stub_sites(site) if await _lives(stub, stub.created)]
    if site.stubdom is not None and not living:
        site.remember_stubdom(None)


async def do_each(deeds: Iterable[Callable[[Site], Awaitable[None]]], site: Site) -> None:
    """Each is tried, whatever became of those before it; raises the first failure afterwards."""
    failures: list[OpenxtError] = []
    for deed in deeds:
        log.debug("%s of domain %s", deed.__qualname__, site.domid)
        try:
            await deed(site)
        except OpenxtError as error:
            log.warning("%s of domain %s: %s", deed.__qualname__, site.domid, error)
            failures.append(error)
    if failures:
        raise failures[0]


STUBDOM_STOP = (PauseDomain(), CloseDevices(), DestroyDomain(), RemoveNodes(), WaitGone())


def plan_stop() -> tuple[Step, ...]:
    return (
        PauseDomain(),
        StopModel(),
        CloseDevices(),
        DestroyDomain(),
        ResetGiven(),
        DetachDisks(),
        RemoveNodes(),
        WaitGone(),
    )
