# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that make a domain, each with what undoes it.  Steps are values: they can be compared, printed.

`undo` is called for every step that began, finished or not, backwards; doing it twice does no harm.
What dies with the domain needs no undo.
"""

import errno
import logging
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from openxt_core.ids import DOM0, Domid
from openxt_xen.hypervisor import DomainSpec, HvmBuilt, HvmImageSpec, ImageSpec, Kind, Rings, XenError
from openxt_xen.xenstore import paths
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.devices.base import Device
from openxt_xenvm.devices.base import nodes as device_nodes
from openxt_xenvm.domain import nodes
from openxt_xenvm.domain.build import Limits, Processors
from openxt_xenvm.locks import in_turn
from openxt_xenvm.site import Host, Site
from openxt_xenvm.state import Event

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    may_be_cancelled: ClassVar[bool] = False
    """Whether it can stop in its middle; others are done to their end first."""

    @property
    def title(self) -> str:
        return type(self).__name__

    @abstractmethod
    async def do(self, site: Site) -> None: ...

    async def undo(self, site: Site) -> None:
        """Nothing, unless said otherwise."""


@dataclass(frozen=True)
class Reversed(Step):
    """Undoes a step, and does it again when what comes after fails."""

    step: Step

    @property
    def title(self) -> str:
        return f"not {self.step.title}"

    async def do(self, site: Site) -> None:
        await self.step.undo(site)

    async def undo(self, site: Site) -> None:
        """Nobody can call this off: no backend has more time than dom0's."""
        await self.step.do(site.in_haste())


@dataclass(frozen=True)
class CreateDomain(Step):
    spec: DomainSpec
    label: str | None = None

    async def do(self, site: Site) -> None:
        has_iommu = self.spec.iommu and await _has_iommu(site.host)
        spec = replace(self.spec, ssidref=await self._label_number(site.host), iommu=has_iommu)
        domid = await site.host.xen(site.host.hypervisor.create_domain, spec)
        site.domid = domid
        site.learn_domid(domid)

    async def undo(self, site: Site) -> None:
        if site.domid is not None:
            await destroy(site.host, site.domid)

    async def _label_number(self, host: Host) -> int:
        """0, Xen's own choice, where it enforces no policy or knows no such label."""
        if self.label is None:
            return 0
        try:
            return await host.xen(host.hypervisor.label_number, self.label)
        except XenError as error:
            log.warning("flask-label %s: %s", self.label, error)
            return 0


async def _has_iommu(host: Host) -> bool:
    """Xen makes no domain that wants one where there is none; a PV domain does without."""
    return (await host.xen(host.hypervisor.physinfo)).has_directio


@dataclass(frozen=True)
class WriteSkeleton(Step):
    config: DomainConfig

    async def do(self, site: Site) -> None:
        wanted = nodes.skeleton(self.config, site.uuid, site.created)
        await site.host.write(wanted, first_remove=[paths.domain(site.created)])

    async def undo(self, site: Site) -> None:
        await remove_home(site)


@dataclass(frozen=True)
class SetLimits(Step):
    limits: Limits

    async def do(self, site: Site) -> None:
        await site.host.xen(self._set, site)

    def _set(self, site: Site) -> None:
        xen, domid, limits = site.host.hypervisor, site.created, self.limits
        xen.set_max_memory(domid, limits.max_memory_kib)
        if limits.memory_map_limit_kib is not None:
            xen.set_memory_map_limit(domid, limits.memory_map_limit_kib)
        for param, value in limits.hvm_params:
            xen.set_hvm_param(domid, param, value)
        xen.set_tsc_default(domid)
        if limits.paging_pool_kib is not None:
            xen.set_paging_pool(domid, limits.paging_pool_kib)


@dataclass(frozen=True)
class OpenChannels(Step):
    """One event channel to xenstored, one to xenconsoled."""

    async def do(self, site: Site) -> None:
        store = site.host.store
        xenstored = _domid(await store.read(paths.XENSTORED_DOMID))
        xenconsoled = _domid(await store.read(paths.XENCONSOLED_DOMID))
        xen = site.host.hypervisor
        site.store_port = await site.host.xen(xen.alloc_unbound_port, site.created, xenstored)
        site.console_port = await site.host.xen(xen.alloc_unbound_port, site.created, xenconsoled)


def _domid(text: str | None) -> Domid:
    return Domid(int(text)) if text and text.isascii() and text.isdecimal() else Domid(0)


@dataclass(frozen=True)
class ApplyCpuid(Step):
    """What the guest sees of the processors, and on which of them it runs."""

    processors: Processors

    async def do(self, site: Site) -> None:
        await site.host.xen(self._apply, site)

    def _apply(self, site: Site) -> None:
        xen, wanted = site.host.hypervisor, self.processors
        xen.apply_cpuid_policy(
            site.created, dict(wanted.masks), pae=wanted.pae, itsc=wanted.itsc, nested=wanted.nested
        )
        for vcpu, pcpus in wanted.affinity:
            xen.set_affinity(site.created, vcpu, pcpus)


@dataclass(frozen=True)
class BuildImage(Step):
    """Load kernel and ramdisk.  One build at a time on the host, as memory would be short otherwise."""

    kind: Kind
    image: ImageSpec

    async def do(self, site: Site) -> None:
        async with in_turn(site.host.build_lock):
            site.rings = await site.host.xen(self._build, site)

    def _build(self, site: Site) -> Rings:
        xen = site.host.hypervisor
        build = xen.build_pv if self.kind is Kind.PV else xen.build_pvh
        image = replace(self.image, store_port=site.store_port, console_port=site.console_port)
        return build(site.created, image)


@dataclass(frozen=True)
class BuildHvm(Step):
    """Load hvmloader, its BIOS and the firmware's tables."""

    image: HvmImageSpec

    async def do(self, site: Site) -> None:
        async with in_turn(site.host.build_lock):
            site.tables = await site.host.xen(self._build, site)
        site.rings = site.tables.rings

    def _build(self, site: Site) -> HvmBuilt:
        image = replace(self.image, store_port=site.store_port, console_port=site.console_port)
        return site.host.hypervisor.build_hvm(site.created, image)


@dataclass(frozen=True)
class WriteBuilt(Step):
    """Memory figures, ring addresses, vcpus."""

    config: DomainConfig

    async def do(self, site: Site) -> None:
        guest = site.guest
        built = nodes.after_build(self.config, guest.domid, site.store_port, guest.rings.store)
        firmware = nodes.firmware(guest.domid, site.tables) if site.tables is not None else ()
        await site.host.write((*built, *firmware, *nodes.vcpus_online(guest.domid, self.config.vcpus)))


@dataclass(frozen=True)
class Introduce(Step):
    """Connect the domain to XenStore.

    Taken back by the domain's end alone: xenstored hears of that, and tells everybody, xenconsoled too.  Were
    it told before, it would have nothing to tell then, and xenconsoled would keep the dead domain's page.
    """

    async def do(self, site: Site) -> None:
        guest = site.guest
        await site.host.store.introduce(guest.domid, guest.rings.store, site.store_port)


@dataclass(frozen=True)
class PlugDevice(Step):
    device: Device

    @property
    def title(self) -> str:
        return f"PlugDevice {self.device.kind} {self.device.devid}"

    async def do(self, site: Site) -> None:
        ends = (self.device.frontend_path(site.guest), self.device.backend_path(site.guest))
        await site.host.write(device_nodes(self.device, site.guest), first_remove=ends)

    async def undo(self, site: Site) -> None:
        if site.domid is None:
            return
        await site.host.store.rm(self.device.frontend_path(site.guest))
        await site.host.remove_backend(self.device.backend_path(site.guest))


@dataclass(frozen=True)
class Announce(Step):
    """Not a deed but a moment: the VM's state moves here."""

    event: Event

    async def do(self, site: Site) -> None:
        site.announce(self.event)


async def destroy(host: Host, domid: Domid) -> None:
    """Destroy a domain; one that is gone already is fine."""
    try:
        await host.xen(host.hypervisor.destroy_domain, domid)
    except XenError as error:
        if error.errno != errno.ESRCH:
            raise


async def remove_model_nodes(site: Site) -> None:
    """What the domain's device model is told and tells.  Last: it says that there may be a model."""
    if site.domid is not None:
        await site.host.remove(paths.device_model(DOM0, site.domid), up_to=paths.domain(DOM0))


async def remove_home(site: Site) -> None:
    """The domain's own folder and what we keep of its VM's."""
    if site.domid is None:
        return
    await site.host.store.rm(paths.domain(site.domid))
    for name in nodes.VM_NODES:
        await site.host.store.rm(f"{paths.vm(site.uuid)}/{name}")
    if not await site.host.store.list(paths.vm(site.uuid)):
        await site.host.remove(paths.vm(site.uuid), up_to="")
