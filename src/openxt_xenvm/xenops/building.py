# SPDX-License-Identifier: GPL-2.0-or-later
"""xenops' commands that make, fill, save and end domains, step by step as a monitor would.

A domain made here has no monitor.  What is filled into one is told by a DomainConfig, like any VM's.
"""

import asyncio
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from openxt_core.errors import BadRequest
from openxt_core.ids import Domid, parse_uuid
from openxt_xen.hypervisor import Kind, Rings, ShutdownReason
from openxt_xen.xenstore import paths
from openxt_xenvm import executor
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.devices.console import Console
from openxt_xenvm.dom0.keeper import Keeper
from openxt_xenvm.domain import build, nodes
from openxt_xenvm.domain.hardware import Hardware
from openxt_xenvm.plan.start import fresh_image
from openxt_xenvm.plan.steps import (
    CreateDomain,
    Introduce,
    OpenChannels,
    PlugDevice,
    SetLimits,
    Step,
    WriteBuilt,
    WriteSkeleton,
)
from openxt_xenvm.saved.transfer import Talk, in_thread
from openxt_xenvm.site import Site
from openxt_xenvm.xenops.control import ask, until_ended
from openxt_xenvm.xenops.session import Session
from openxt_xenvm.xenops.words import Given

MODE = 0o600
HVM_SWITCHES = ("pae", "acpi", "apic", "nx", "smbios_pt", "acpi_pt", "viridian", "nested")
ANY_MODEL = "none"  # an HVM config must name a device model; none is started here


async def create_domain(session: Session, given: Given) -> str:
    """Empty and paused.  The number of vcpus is fixed here: Xen 4.17 does not change it afterwards."""
    kind = Kind.HVM if given["hvm"] else Kind.PV
    config = DomainConfig(virt_type=kind, vcpus=given["vcpus"])
    site = await session.empty_site(parse_uuid(str(uuid.uuid4())))
    spec = build.domain_spec(config, site.uuid)
    await executor.run((CreateDomain(spec), WriteSkeleton(config)), site)
    return str(site.domid)


async def destroy_domain(session: Session, given: Given) -> str:
    """With its nodes, disks and cards."""
    await executor.stop(await session.site(given.domid))
    return ""


async def build_domain(session: Session, given: Given) -> str:
    """A kernel into an empty PV domain, which stays paused."""
    config = DomainConfig(
        virt_type=Kind.PV,
        kernel=given["kernel"],
        cmdline=given["cmdline"],
        initrd=given["ramdisk"] or None,
        memory_kib=given["memory"],
        vcpus=given["vcpus"],
    )
    return await _fill(session, given.domid, config, None)


async def build_hvm(session: Session, given: Given) -> str:
    """Firmware into an empty HVM domain, which stays paused, and runs nothing without a device model."""
    switches = {name: given[name] for name in HVM_SWITCHES}
    config = DomainConfig(
        virt_type=Kind.HVM,
        kernel=given["kernel"],
        memory_kib=given["memory"],
        vcpus=given["vcpus"],
        qemu_dm_path=ANY_MODEL,
        smbios_oem_types_pt=given["smbios_oem_types_pt"],
        **switches,
    )
    return await _fill(session, given.domid, config, _hardware((await session.host()).keeper, config))


def _hardware(keeper: Keeper, config: DomainConfig) -> Hardware:
    return Hardware(
        keeper.firmware(),
        acpi_table=keeper.acpi_table() if config.acpi_pt else b"",
        smbios=keeper.smbios_tables() if config.smbios_pt else b"",
        vendor=keeper.processor_vendor(),
    )


async def _fill(session: Session, domid: Domid, config: DomainConfig, hardware: Hardware | None) -> str:
    keeper = (await session.host()).keeper
    files = build.Files(keeper.kernel_problem, partial(os.access, mode=os.R_OK))
    site = await _empty(session, domid, config, list(build.mistakes(config, files)))
    plan = (WritePlatform(config), *_limits(config), *fresh_image(config, hardware), *_finish(config))
    await executor.run(plan, site)
    return ""


@dataclass(frozen=True)
class WritePlatform(Step):
    """What the firmware reads of the machine; `create_domain` did not know it yet."""

    config: DomainConfig

    async def do(self, site: Site) -> None:
        found = nodes.platform(self.config).items()
        await site.host.write(nodes.Node(paths.platform(site.created, key), value) for key, value in found)


async def _empty(session: Session, domid: Domid, config: DomainConfig, mistakes: list[str]) -> Site:
    """Raises BadRequest when it is not empty, of another kind, or cannot hold what is configured."""
    info = session.guest(domid)
    if info.kind is not config.kind:
        raise BadRequest(f"domain {domid} is not {config.kind.upper()}")
    if info.memory_kib:
        raise BadRequest(f"domain {domid} was built before")
    if config.vcpus != info.vcpus:
        raise BadRequest(f"domain {domid} was created with {info.vcpus} vcpus, not {config.vcpus}")
    if mistakes:
        raise BadRequest("; ".join(mistakes))
    return await session.empty_site(info.uuid, domid)


def _limits(config: DomainConfig) -> tuple[Step, ...]:
    return (SetLimits(build.limits(config)), OpenChannels())


def _finish(config: DomainConfig) -> tuple[Step, ...]:
    return (WriteBuilt(config), Introduce(), PlugDevice(Console()))


# To and from files: Xen's own stream, as `xl` has it behind its header


async def save_domain(session: Session, given: Given) -> str:
    """To a new file; the domain is destroyed when all of it is there."""
    await _save(session, given)
    return await destroy_domain(session, given)


async def chkpoint_domain(session: Session, given: Given) -> str:
    """To a new file; the domain goes on."""
    domid = await _save(session, given)
    session.hypervisor.resume(domid, fast=not given["uncooperative"])
    await (await session.store()).resume(domid)
    return ""


async def _save(session: Session, given: Given) -> Domid:
    """The domain is suspended afterwards; when it could not be saved it goes on, and there is no file."""
    path, domid = Path(given["file"]), _restorable(session, given.domid)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from None
    talk = Talk(asyncio.get_running_loop(), partial(_suspended, session, domid), _no_device_model)
    try:
        await in_thread(partial(session.hypervisor.save, domid, descriptor, talk, live=False))
        await in_thread(partial(os.fsync, descriptor))
    except BaseException:
        path.unlink()
        await _go_on(session, domid)
        raise
    finally:
        os.close(descriptor)
    return domid


def _restorable(session: Session, domid: Domid) -> Domid:
    """Raises BadRequest for a domain that `restore_domain` could not make again."""
    kind = session.guest(domid).kind
    if kind is not Kind.PV:
        raise BadRequest(f"domain {domid} is {kind.upper()}: only PV domains can be restored")
    return domid


async def _suspended(session: Session, domid: Domid) -> bool:
    await ask(session, domid, "suspend")
    return await until_ended(session, domid) is ShutdownReason.SUSPEND


async def _no_device_model(_enable: bool) -> None:
    """PV has none."""


async def _go_on(session: Session, domid: Domid) -> None:
    info = session.hypervisor.info(domid)
    if info is not None and info.shutdown is ShutdownReason.SUSPEND:
        session.hypervisor.resume(domid, fast=True)
        await (await session.store()).resume(domid)
    await (await session.store()).write(paths.shutdown_request(domid), "")


@dataclass(frozen=True)
class ReadStream(Step):
    """A saved domain's memory and vcpus."""

    restore: Callable[[Site], Rings]

    async def do(self, site: Site) -> None:
        site.rings = await in_thread(partial(self.restore, site))


async def restore_domain(session: Session, given: Given) -> str:
    """Into an empty PV domain, which stays paused."""
    path = Path(given["file"])
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from None
    config = DomainConfig(virt_type=Kind.PV, memory_kib=given["memory"], vcpus=given["vcpus"])

    def restore(site: Site) -> Rings:
        ports = (site.store_port, site.console_port)
        return session.hypervisor.restore(site.created, descriptor, *ports)

    try:
        site = await _empty(session, given.domid, config, list(build.size_mistakes(config)))
        await executor.run((*_limits(config), ReadStream(restore), *_finish(config)), site)
    finally:
        os.close(descriptor)
    return ""
