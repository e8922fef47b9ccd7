# SPDX-License-Identifier: GPL-2.0-or-later
"""The step that starts a stub domain: a small PV domain in which the device model of another one runs.

Its disks and cards are the guest's own, as a PV guest would have them.  Ending it is in stop.py.
Source: OpenXT xenops, 2015.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from openxt_core.ids import DOM0, Domid, Uuid
from openxt_xen.hypervisor import Kind
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.wire import Permission
from openxt_xenvm.config.model import DomainConfig, Nic
from openxt_xenvm.devices.console import Console
from openxt_xenvm.devices.pci import Pci, groups
from openxt_xenvm.devices.vfb import Vfb
from openxt_xenvm.devices.vkbd import Vkbd
from openxt_xenvm.domain import build
from openxt_xenvm.domain.nodes import Node, model_figures
from openxt_xenvm.errors import DeviceModelFailed
from openxt_xenvm.plan.plugging import PlugDisk, PlugNic
from openxt_xenvm.plan.steps import (
    ApplyCpuid,
    BuildImage,
    CreateDomain,
    Introduce,
    OpenChannels,
    PlugDevice,
    SetLimits,
    Step,
    WriteBuilt,
    WriteSkeleton,
    remove_model_nodes,
)
from openxt_xenvm.plan.stop import do_each, forget_stubdom, stop_stubdom
from openxt_xenvm.plan.stub_pci import plan_stub_pci
from openxt_xenvm.plan.stub_site import seen_by_stubdom
from openxt_xenvm.site import Site

LABEL = "system_u:system_r:stubdom_t"
OTHER_MAC = 0x02  # toggled in the first byte: the emulated card has the guest's own address


@dataclass(frozen=True)
class StartStubdom(Step):
    """Up to where its dm-agent tells what it can do."""

    config: DomainConfig

    async def do(self, site: Site) -> None:
        assert self.config.stubdom is not None
        disks = tuple(seen_by_stubdom(disk, site) for disk in self.config.disk if disk.path)
        own = replace(stub_config(self.config, site.created), disk=disks)
        stub = Site(site.host, self.config.stubdom, lambda _: None, lambda _: None, backends=site.backends)
        first, *rest = steps(own, self.config.stubdom, groups(self.config))
        site.remember_stubdom(self.config.stubdom)
        await first.do(stub)
        await site.host.store.write(paths.stubdomid(site.created), str(stub.created))
        for step in rest:
            await step.do(stub)
        await self._connect(site, stub.created)
        await self._firewall(site)
        await site.host.xen(site.host.hypervisor.unpause, stub.created)
        await self._until_agent_speaks(site, stub.created)

    async def undo(self, site: Site) -> None:
        await do_each((stop_stubdom, remove_model_nodes, forget_stubdom), site)

    async def _connect(self, site: Site, stub: Domid) -> None:
        """The stub domain may serve the guest, and both may talk about it."""
        host, domid = site.host, site.created
        await host.xen(host.hypervisor.set_target, stub, domid)
        await host.store.set_target(stub, domid)
        shared = (Permission(stub, "n"), Permission(domid, "r"))
        folders = (
            paths.device_model(DOM0, domid),
            f"{paths.frontends(stub)}/vfs",
            f"{paths.domain(domid)}/device-misc",
            f"{paths.domain(domid)}/dms",
            f"{paths.domain(stub)}/dm-agent",
        )
        power = Node(
            f"{paths.domain(domid)}/power-state", "", (Permission(domid, "n"), Permission(stub, "b"))
        )
        # the first that fits holds for the stub domain, which has its guest's rights, too
        told_time = (Permission(DOM0, "n"), Permission(stub, "b"), Permission(domid, "r"))
        clock = Node(f"{paths.vm(site.uuid)}/rtc/timeoffset", access=told_time)
        await host.write(
            (
                *model_figures(self.config, domid),
                *(Node(folder, access=shared) for folder in folders),
                Node(paths.target(stub), str(domid)),
                Node(f"{paths.vm(site.uuid)}/image/dmargs", agent_words(domid)),
                power,
                clock,
            )
        )

    async def _firewall(self, site: Site) -> None:
        """xenmgr's rules for v4v must stand before the stub domain can talk to anybody."""
        node, limit_s = f"{paths.domain(site.created)}/v4v-firewall-ready", site.host.settings.firewall_s
        try:
            await site.host.store.wait_until(node, bool, limit_s)
        except TimeoutError:
            raise DeviceModelFailed(f"nobody wrote v4v-firewall-ready within {limit_s:.0f} s") from None

    async def _until_agent_speaks(self, site: Site, stub: Domid) -> None:
        limit_s = float(self.config.qemu_dm_timeout_s)
        try:
            capabilities = paths.agent(stub, "capabilities")
            await site.host.store.wait_until(capabilities, lambda value: value is not None, limit_s)
        except TimeoutError:
            raise DeviceModelFailed(f"no dm-agent in stub domain {stub} after {limit_s:.0f} s") from None


def agent_words(domid: Domid) -> str:
    return f"guest_agent=dmagent guest_domid={domid}"


def stub_config(config: DomainConfig, domid: Domid) -> DomainConfig:
    """The stub domain of `config`'s domain, still without its disks."""
    return DomainConfig(
        uuid=config.stubdom,
        name=f"stubdom-{domid}",
        virt_type=Kind.PV,
        kernel=config.stubdom_kernel,
        initrd=config.stubdom_initrd or None,
        cmdline=f"{config.stubdom_cmdline} {agent_words(domid)}",
        memory_kib=config.stubdom_memory_kib,
        flask_label=LABEL,
        nic=tuple(_nic(nic) for nic in config.nic),
    )


def _nic(nic: Nic) -> Nic:
    return replace(nic, mac=f"{int(nic.mac[:2], 16) ^ OTHER_MAC:02x}{nic.mac[2:]}")


def steps(config: DomainConfig, uuid: Uuid, pci_groups: Iterable[Pci]) -> tuple[Step, ...]:
    """Those of a PV domain, up to where it only has to be unpaused.  `pci_groups` are the guest's."""
    return (
        CreateDomain(build.domain_spec(config, uuid), config.flask_label),
        WriteSkeleton(config),
        SetLimits(build.limits(config)),
        OpenChannels(),
        ApplyCpuid(build.processors(config)),
        BuildImage(config.kind, build.image_spec(config)),
        WriteBuilt(config),
        Introduce(),
        PlugDevice(Console()),
        *map(PlugDisk, config.disk),
        *map(PlugNic, config.nic),
        *(step for pci in pci_groups for step in plan_stub_pci(pci)),
        PlugDevice(Vfb()),
        PlugDevice(Vkbd(0)),
    )
