# SPDX-License-Identifier: GPL-2.0-or-later
"""DomainConfig → the steps that make its domain, up to where it only has to be unpaused.  Pure."""

from collections.abc import Iterator

from openxt_core.ids import Uuid
from openxt_xen.hypervisor import Kind
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.devices.argo import V4v
from openxt_xenvm.devices.base import Device
from openxt_xenvm.devices.console import Console
from openxt_xenvm.devices.pci import groups
from openxt_xenvm.devices.vfb import Vfb
from openxt_xenvm.devices.vkbd import Vkbd
from openxt_xenvm.devices.vsnd import Vsnd
from openxt_xenvm.devices.vtpm import Vtpm
from openxt_xenvm.domain import build
from openxt_xenvm.domain.hardware import Hardware
from openxt_xenvm.plan.agents import AskAgents
from openxt_xenvm.plan.device_model import StartQemu
from openxt_xenvm.plan.passing import AllowSpan, plan_pci
from openxt_xenvm.plan.plugging import PlugNic, plan_disks
from openxt_xenvm.plan.saving import ReadSaved
from openxt_xenvm.plan.steps import (
    Announce,
    ApplyCpuid,
    BuildHvm,
    BuildImage,
    CreateDomain,
    Introduce,
    OpenChannels,
    PlugDevice,
    SetLimits,
    Step,
    WriteBuilt,
    WriteSkeleton,
)
from openxt_xenvm.plan.stub_pci import plan_guest_pci
from openxt_xenvm.plan.stubdom import StartStubdom
from openxt_xenvm.state import Event


def devices(config: DomainConfig) -> Iterator[Device]:
    """In the order in which they are plugged."""
    if config.vkbd:
        yield from (Vkbd(0), Vkbd(1))
    if config.vfb:
        yield Vfb()
    if config.vsnd:
        yield Vsnd()
    if config.v4v:
        yield V4v()
    if config.vtpm_instance is not None:
        yield Vtpm(instance=config.vtpm_instance)


def passed(config: DomainConfig, *, has_stubdom: bool = False) -> Iterator[Step]:
    """Parts of the machine."""
    for pci in groups(config):
        yield from plan_guest_pci(pci) if has_stubdom else plan_pci(pci)
    yield from (AllowSpan(span, is_ports=True) for span in config.passthrough_io)
    yield from (AllowSpan(span, is_ports=False) for span in config.passthrough_mmio)


def fresh_image(config: DomainConfig, hardware: Hardware | None) -> tuple[Step, ...]:
    """What fills the empty domain.  A saved guest brings both with it."""
    processors = build.processors(config, hardware.vendor if hardware else "")
    return (ApplyCpuid(processors), _builder(config, hardware))


def _builder(config: DomainConfig, hardware: Hardware | None) -> Step:
    if config.kind is not Kind.HVM:
        return BuildImage(config.kind, build.image_spec(config))
    assert hardware is not None
    return BuildHvm(build.hvm_image_spec(config, hardware))


def device_model(config: DomainConfig, hardware: Hardware | None, saved: str = "") -> Iterator[Step]:
    if config.stubdom is not None and hardware is not None:
        yield StartStubdom(config)
    if hardware is not None and hardware.has_agents:
        yield AskAgents(config, hardware.nic_model)
    elif hardware is not None and hardware.model:
        yield StartQemu(config, hardware, is_restored=bool(saved) and config.kind is Kind.HVM)


def plan_start(
    config: DomainConfig, uuid: Uuid, hardware: Hardware | None = None, saved: str = ""
) -> tuple[Step, ...]:
    """Fresh or from the file of a suspended VM.  The executor undoes a failed one backwards.

    `hardware` is what an HVM domain needs of its host.

    The order is libxl's: limits before the image, since they make room for it; the name before the
    console, since xenconsoled names its log after it; the device model last, as it finds its devices.
    """
    has_stubdom = config.stubdom is not None and hardware is not None
    return (
        CreateDomain(build.domain_spec(config, uuid), config.flask_label),
        WriteSkeleton(config),
        SetLimits(build.limits(config)),
        OpenChannels(),
        *((ReadSaved(saved, has_model=config.kind is Kind.HVM),) if saved else fresh_image(config, hardware)),
        WriteBuilt(config),
        Introduce(),
        PlugDevice(Console()),
        Announce(Event.DOMAIN_BUILT),
        *plan_disks(config.disk, with_inquiries=config.diskinfo_pt, has_stubdom=has_stubdom),
        *map(PlugNic, config.nic),
        *passed(config, has_stubdom=has_stubdom),
        *map(PlugDevice, devices(config)),
        *device_model(config, hardware, saved),
        Announce(Event.DEVICES_READY),
    )
