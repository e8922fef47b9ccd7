# SPDX-License-Identifier: GPL-2.0-or-later
"""DomainConfig → the steps that make its domain, up to where it only has to be unpaused.  Pure."""

from collections.abc import Iterator

from openxt_core.ids import Uuid
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.devices.argo import V4v
from openxt_xenvm.devices.base import Device
from openxt_xenvm.devices.console import Console
from openxt_xenvm.devices.vfb import Vfb
from openxt_xenvm.devices.vkbd import Vkbd
from openxt_xenvm.devices.vsnd import Vsnd
from openxt_xenvm.domain import build
from openxt_xenvm.plan.plugging import AttachLoop, PlugDisk, PlugNic
from openxt_xenvm.plan.saving import ReadSaved
from openxt_xenvm.plan.steps import (
    Announce,
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
)
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


def disks(config: DomainConfig) -> Iterator[Step]:
    for disk in config.disk:
        if disk.type == "file":
            yield AttachLoop(disk)
        yield PlugDisk(disk)


def fresh_image(config: DomainConfig) -> tuple[Step, ...]:
    """A saved guest brings both with it."""
    return (
        ApplyCpuid(tuple(build.cpuid_overrides(config).items())),
        BuildImage(config.kind, build.image_spec(config)),
    )


def plan_start(config: DomainConfig, uuid: Uuid, saved: str = "") -> tuple[Step, ...]:
    """PV and PVH, fresh or from the file of a suspended VM.  The executor undoes a failed one backwards.

    The order is libxl's: limits before the image, since they make room for it; the name before the
    console, since xenconsoled names its log after it.
    """
    return (
        CreateDomain(build.domain_spec(config, uuid)),
        WriteSkeleton(config),
        SetLimits(build.limits(config)),
        OpenChannels(),
        *((ReadSaved(saved),) if saved else fresh_image(config)),
        WriteBuilt(config),
        Introduce(),
        PlugDevice(Console()),
        Announce(Event.DOMAIN_BUILT),
        *disks(config),
        *map(PlugNic, config.nic),
        *map(PlugDevice, devices(config)),
        Announce(Event.DEVICES_READY),
    )
