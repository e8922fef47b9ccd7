# SPDX-License-Identifier: GPL-2.0-or-later
"""XenStore nodes of a domain itself: what is there before, and after, its image is built.  Pure.

Permissions follow stock Xen 4.17: `device` and `control` belong to the control domain, the guest owns only
the listed nodes below.  A guest that owned them whole could forge backends and shutdown requests.
Sources: OpenXT xenops, 2015, for the nodes; libxl 4.17 for the permissions.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from openxt_core.ids import DOM0, Domid, Uuid
from openxt_xen.hypervisor import HvmBuilt, Kind
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.wire import Permission
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.domain.memory import KIB_PER_MIB, page_aligned_kib
from openxt_xenvm.domain.video import video_mib


@dataclass(frozen=True, slots=True)
class Node:
    """Without a value it is made and left empty; without permissions it inherits its parent's."""

    path: str
    value: str | None = None
    access: tuple[Permission, ...] = ()


CONTROL_DOMAIN_DIRECTORIES = ("cpu", "memory", "device", "control")

GUEST_NODES = (
    "control/shutdown",
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "control/sysrq",
    "device/suspend/event-channel",
    "data",
    "drivers",
    "feature",
    "attr",
    "error",
)

SERIAL_LIMIT = 65536

TOP_OF_LOW_MEMORY = 0xF000_0000  # where RAM ends below the devices, in bytes

VM_NODES = ("uuid", "name", "rtc", "image")
"""What of `/vm/U` is ours; others may keep nodes there too."""


def readable_by(domid: Domid) -> tuple[Permission, ...]:
    """Written by the control domain, read by the guest."""
    return (Permission(DOM0, "n"), Permission(domid, "r"))


def owned_by(domid: Domid) -> tuple[Permission, ...]:
    return (Permission(domid, "n"),)


def domain_name(config: DomainConfig, domid: Domid) -> str:
    return config.name or f"Domain-{domid}"


def skeleton(config: DomainConfig, uuid: Uuid, domid: Domid) -> tuple[Node, ...]:
    """What must be there before anything else of the domain."""
    home, vm = paths.domain(domid), paths.vm(uuid)
    name = domain_name(config, domid)
    return (
        Node(home, access=readable_by(domid)),
        Node(vm, access=readable_by(domid)),
        *(Node(f"{home}/{part}", access=readable_by(domid)) for part in CONTROL_DOMAIN_DIRECTORIES),
        *(Node(f"{home}/{part}", access=owned_by(domid)) for part in GUEST_NODES),
        Node(f"{home}/vm", vm),
        Node(f"{home}/name", name),
        Node(f"{vm}/uuid", uuid),
        Node(f"{vm}/name", name),
        Node(f"{home}/control/platform-feature-multiprocessor-suspend", "1"),
        Node(f"{home}/control/platform-feature-xs_reset_watches", "1"),
        *((Node(f"{vm}/rtc/timeoffset", config.time_offset),) if config.kind is Kind.HVM else ()),
        *(Node(f"{home}/platform/{key}", value) for key, value in platform(config).items()),
        *(Node(f"{home}/bios-strings/{pair.name}", pair.value) for pair in config.bios_string),
    )


def platform(config: DomainConfig) -> dict[str, str]:
    """What firmware and guest tools read of the machine; `platform` lines win over keys."""
    acpi = str(int(config.acpi))
    found = {
        **{key.replace("_", "-"): _word(getattr(config, key)) for key in _PLATFORM_SWITCHES},
        "smbios-oem-types-pt": config.smbios_oem_types_pt,
        "acpi": acpi,
        "acpi_s3": acpi,
        "acpi_s4": acpi,
        "vcpu_number": str(config.vcpus),
        "vcpu_current": str(config.vcpus),
    }
    numbers = {"timer-mode": config.timer_mode, "hpet": config.hpet, "vpt-align": config.vpt_align}
    found |= {key: str(value) for key, value in numbers.items() if value is not None}
    return found | {pair.name: pair.value for pair in config.platform}


_PLATFORM_SWITCHES = ("pae", "apic", "nx", "smbios_pt", "acpi_pt", "viridian", "nested")


def _word(value: bool) -> str:
    return "true" if value else "false"


def after_build(config: DomainConfig, domid: Domid, store_port: int, store_frame: int) -> tuple[Node, ...]:
    """What the guest and xenstored read once the image stands."""
    assert config.memory_kib is not None
    assert config.static_max_kib is not None
    home = paths.domain(domid)
    video_kib = video_mib(config) * KIB_PER_MIB if config.kind is Kind.HVM else 0
    values = {
        "memory/static-max": config.static_max_kib,
        "memory/target": page_aligned_kib(config.memory_kib) - video_kib,
        "memory/videoram": video_kib,
        "domid": domid,
        "store/port": store_port,
        "store/ring-ref": store_frame,
        "serial/0/limit": SERIAL_LIMIT,
    }
    return tuple(Node(f"{home}/{key}", str(value)) for key, value in values.items())


def firmware(domid: Domid, built: HvmBuilt) -> tuple[Node, ...]:
    """What hvmloader reads.  Source: xen/tools/firmware/hvmloader (4.17)."""
    home = paths.domain(domid)
    tables = {"acpi": built.acpi_address, "smbios": built.smbios_address}
    lengths = {"acpi": built.acpi_length, "smbios": built.smbios_length}
    found = {"bios": "seabios", "allow-memory-relocate": "0"}  # QEMU cannot follow memory that moves
    for name, address in tables.items():
        if address:
            found |= {f"{name}/address": f"{address:#x}", f"{name}/length": f"{lengths[name]:#x}"}
    return (
        *(Node(f"{home}/hvmloader/{key}", value) for key, value in found.items()),
        Node(f"{home}/platform/device-model", "qemu_xen"),
        Node(f"{home}/memory/tolum", str(TOP_OF_LOW_MEMORY)),
    )


def model_figures(config: DomainConfig, domid: Domid) -> tuple[Node, ...]:
    """What OpenXT's own device models read; it is there for any of them."""
    own = paths.device_model(DOM0, domid)
    figures = {
        "xen_extended_power_mgmt": config.power_management,
        "oem_features": config.oem_features,
        "inject-sci": config.inject_sci,
    }
    told = (Node(f"{own}/{key}", str(value)) for key, value in figures.items() if value)
    return (Node(own, access=readable_by(domid)), *told)


def vcpus_online(domid: Domid, vcpus: int) -> tuple[Node, ...]:
    home = paths.domain(domid)
    return tuple(Node(f"{home}/cpu/{number}/availability", "online") for number in range(vcpus))


def left_by(domid: Domid, uuid: Uuid, backends: Iterable[Domid], kinds: Sequence[str]) -> Iterator[str]:
    """Everything of a domain that must be gone with it, innermost first."""
    for backend in sorted({DOM0, *backends}):
        for kind in kinds:
            yield f"{paths.backends(backend)}/{kind}/{domid}"
    yield paths.domain(domid)
    for name in VM_NODES:
        yield f"{paths.vm(uuid)}/{name}"
