# SPDX-License-Identifier: GPL-2.0-or-later
"""What is looked at before a start: everything that hinders it, told at once, and what the host gives to it.

Makes nothing.  Free memory, and whether the VM has a domain already, are the lifecycle's business.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from openxt_xen.hypervisor import DomainInfo, Kind, PhysInfo
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.devices import checks
from openxt_xenvm.dm import qemu
from openxt_xenvm.domain import build
from openxt_xenvm.domain.hardware import Firmware, Hardware
from openxt_xenvm.errors import DeviceError
from openxt_xenvm.plan.agents import are_there
from openxt_xenvm.plan.device_model import socket_mistakes, socket_of
from openxt_xenvm.plan.passing import pci_in_use
from openxt_xenvm.site import Site

T = TypeVar("T")

NO_FIRMWARE = Firmware("", "")


@dataclass
class Preflight:
    """`blockers` names each key; the rest is of use only without any."""

    blockers: list[str] = field(default_factory=list)
    hardware: Hardware | None = None
    host: PhysInfo | None = None

    def ask(self, call: Callable[..., T], *words: str, otherwise: T) -> T:
        """What the host answers; what it lacks is a blocker."""
        try:
            return call(*words)
        except DeviceError as error:
            self.blockers += error.arguments
            return otherwise


async def look(
    config: DomainConfig, site: Site, domains: Sequence[DomainInfo], bridges: Sequence[str], *, is_saved: bool
) -> Preflight:
    """`domains` are there already.  `is_saved`: the guest brings its image with it."""
    keeper, found = site.host.keeper, Preflight()
    files = build.Files(keeper.kernel_problem, _is_readable)
    taken = await pci_in_use(site) if config.pci else {}
    domids = {info.domid for info in domains}
    devices = checks.HostDevices(keeper.disk_problem, bridges, keeper.pci.problem, domids.__contains__, taken)
    own = build.size_mistakes(config) if is_saved else build.mistakes(config, files)
    has_agents = config.wants_device_model and (
        config.stubdom is not None or await are_there(site.host.store)
    )
    has_qemu = config.wants_device_model and not has_agents

    def ask_the_host() -> None:
        found.blockers += (*own, *checks.mistakes(config, devices), *_second_stubdom(config, domains))
        if has_qemu:
            found.blockers += (*qemu.mistakes(config), *socket_mistakes(socket_of(site.host, site.uuid)))
        found.host = site.host.hypervisor.physinfo()
        found.hardware = _hardware(found, config, site, has_agents=has_agents, has_qemu=has_qemu)

    await site.host.xen(ask_the_host)
    return found


def _second_stubdom(config: DomainConfig, domains: Sequence[DomainInfo]) -> Iterator[str]:
    """A stub domain is known by its uuid alone: there must be no other domain with it."""
    for info in domains:
        if config.stubdom is not None and info.uuid == config.stubdom and not info.dying:
            yield f"stubdom: domain {info.domid} has the uuid {info.uuid}"


def _hardware(
    found: Preflight, config: DomainConfig, site: Site, *, has_agents: bool, has_qemu: bool
) -> Hardware | None:
    """What the domain takes of its host; None for one that takes nothing.  Blocks."""
    keeper, is_hvm = site.host.keeper, config.kind is Kind.HVM
    if not (is_hvm or has_agents or has_qemu):
        return None
    return Hardware(
        found.ask(keeper.firmware, otherwise=NO_FIRMWARE) if is_hvm else NO_FIRMWARE,
        found.ask(keeper.device_model, config.qemu_dm_path, otherwise=()) if has_qemu else (),
        has_agents,
        keeper.default_nic_model(),
        is_direct=is_hvm and bool(config.kernel) and keeper.is_linux(config.kernel),
        acpi_table=keeper.acpi_table() if is_hvm and config.acpi_pt else b"",
        smbios=keeper.smbios_tables() if is_hvm and config.smbios_pt else b"",
        vendor=keeper.processor_vendor() if is_hvm else "",
    )


def _is_readable(path: str) -> bool:
    try:
        with Path(path).open("rb"):
            return True
    except (OSError, ValueError):
        return False
