# SPDX-License-Identifier: GPL-2.0-or-later
"""DomainConfig → what Xen and its builders are asked for, and why a config cannot be started.  Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from openxt_core.ids import Uuid
from openxt_xen.hypervisor import DomainSpec, HvmParam, ImageSpec, Kind, PhysInfo
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.devices import checks
from openxt_xenvm.domain import memory

NO_DELAY_FOR_MISSED_TICKS = 1  # libxl's default timer mode
MAX_VCPUS = {Kind.PV: 512, Kind.PVH: 128, Kind.HVM: 128}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is set on an empty domain before its image is built.  None: not for this kind."""

    max_memory_kib: int
    memory_map_limit_kib: int | None = None
    paging_pool_kib: int | None = None
    hvm_params: tuple[tuple[HvmParam, int], ...] = ()


def domain_spec(config: DomainConfig, uuid: Uuid) -> DomainSpec:
    is_pv = config.kind is Kind.PV
    return DomainSpec(
        uuid,
        config.kind,
        config.vcpus,
        hap=not is_pv and _wants_hap(config),
        nested=not is_pv and config.nested,
    )


def _wants_hap(config: DomainConfig) -> bool:
    """A `platform` line overrides the key of the same name."""
    words = [pair.value for pair in config.platform if pair.name == "hap"]
    return {"true": True, "false": False}.get(words[-1] if words else "", config.hap)


def limits(config: DomainConfig) -> Limits:
    size = memory.size_of(config)
    maximum = memory.max_memory_kib(size)
    if config.kind is Kind.PV:
        return Limits(maximum, memory_map_limit_kib=config.static_max_kib)
    timer_mode = NO_DELAY_FOR_MISSED_TICKS if config.timer_mode is None else config.timer_mode
    params = ((HvmParam.TIMER_MODE, timer_mode), (HvmParam.ALTP2M, 0))
    return Limits(maximum, paging_pool_kib=memory.paging_pool_kib(size), hvm_params=params)


def image_spec(config: DomainConfig) -> ImageSpec:
    """The ports are unknown yet, and 0."""
    assert config.memory_kib is not None
    return ImageSpec(
        kernel=config.kernel,
        memory_kib=memory.page_aligned_kib(config.memory_kib),
        max_vcpus=config.vcpus,
        store_port=0,
        console_port=0,
        ramdisk=config.initrd or "",
        cmdline=config.cmdline,
    )


def cpuid_overrides(config: DomainConfig) -> dict[tuple[int, int | None], tuple[str | None, ...]]:
    """Per leaf and subleaf the four masks; a later line wins register by register."""
    found: dict[tuple[int, int | None], tuple[str | None, ...]] = {}
    for line in config.cpuid:
        before = found.get((line.leaf, line.subleaf), (None,) * 4)
        merged = tuple(new if new is not None else old for new, old in zip(line.masks, before, strict=True))
        found[line.leaf, line.subleaf] = merged
    return found


def missing_capabilities(config: DomainConfig, host: PhysInfo) -> tuple[str, ...]:
    """In the words of the host's capability list."""
    needs = {
        "pv": (config.kind is Kind.PV, host.has_pv),
        "hvm": (config.kind is not Kind.PV, host.has_hvm),
        "directio": (config.kind is Kind.HVM and bool(config.pci), host.has_directio),
    }
    return tuple(name for name, (needed, there) in needs.items() if needed and not there)


def mistakes(config: DomainConfig, is_readable: Callable[[str], bool]) -> Iterator[str]:
    """Why the config as it stands can make no domain: all reasons, each naming its key."""
    yield from size_mistakes(config)
    if not config.kernel and config.kind is not Kind.HVM:
        yield "kernel is not configured"
    for key, path in (("kernel", config.kernel), ("initrd", config.initrd)):
        if path and not is_readable(path):
            yield f"{key}: cannot read {path}"


def size_mistakes(config: DomainConfig) -> Iterator[str]:
    """Those that also matter to a guest which brings its image with it."""
    if config.memory_kib is None:
        yield "memory is not configured"
    elif config.static_max_kib is not None and config.static_max_kib < config.memory_kib:
        yield "memory-max is less than memory"
    if config.vcpus > MAX_VCPUS[config.kind]:
        yield f"vcpus={config.vcpus} is more than the {MAX_VCPUS[config.kind]} of a {config.kind} domain"


def not_built_yet(config: DomainConfig) -> Iterator[str]:
    """Every key that asks for a part which does not exist yet."""
    asked = {
        "hvm": config.kind is Kind.HVM,
        "qemu-dm-path": config.wants_device_model,
        "stubdom": config.stubdom is not None,
        "pci": bool(config.pci),
        "vtpm-instance": config.vtpm_instance is not None,
        "passthrough-io": bool(config.passthrough_io),
        "passthrough-mmio": bool(config.passthrough_mmio),
        "memory-max": config.kind is Kind.PVH and config.static_max_kib != config.memory_kib,
    }
    yield from (key for key, wanted in asked.items() if wanted)
    yield from checks.not_built_yet(config)


def without_effect(config: DomainConfig) -> Iterator[str]:
    """Every key that is set and changes nothing here: worth a warning, no reason to refuse."""
    asked = {
        "flask-label": config.flask_label is not None,
        "cpus-affinity": bool(config.cpus_affinity),
        "xci-cpuid-signature": config.xci_cpuid_signature,
        "xci-service": config.xci_service,
        "disable-migrate": config.disable_migrate,
    }
    return (key for key, wanted in asked.items() if wanted)
