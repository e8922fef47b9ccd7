# SPDX-License-Identifier: GPL-2.0-or-later
"""DomainConfig → what Xen and its builders are asked for, and why a config cannot be started.  Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from openxt_core.ids import Uuid
from openxt_xen.hypervisor import DomainSpec, HvmImageSpec, HvmParam, ImageSpec, Kind, PhysInfo
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.devices import checks
from openxt_xenvm.domain import cpuid, memory
from openxt_xenvm.domain.hardware import Hardware, oem_types, smbios_module
from openxt_xenvm.domain.hardware import mistakes as hardware_mistakes
from openxt_xenvm.domain.video import video_mib

VIRIDIAN_GROUPS = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 6
"""Base and clocks, time reference, APIC assist, crash registers: what libxl means by "on"."""

NO_DELAY_FOR_MISSED_TICKS = 1  # libxl's default timer mode


@dataclass(frozen=True)
class Files:
    """What the checks ask of dom0's files; `kernel_problem` answers "" for one that may be a kernel."""

    kernel_problem: Callable[[str], str] = lambda _: ""
    is_readable: Callable[[str], bool] = lambda _: True


MAX_VCPUS = {Kind.PV: 512, Kind.PVH: 128, Kind.HVM: 128}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is set on an empty domain before its image is built.  None: not for this kind."""

    max_memory_kib: int
    memory_map_limit_kib: int | None = None
    paging_pool_kib: int | None = None
    hvm_params: tuple[tuple[HvmParam, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Processors:
    """What a domain sees of the processors, and on which of them it may run."""

    masks: tuple[tuple[cpuid.Place, cpuid.Masks], ...] = ()
    affinity: tuple[tuple[int, tuple[int, ...]], ...] = ()  # vcpu, physical ones
    pae: bool = True
    itsc: bool = False
    nested: bool = False


def processors(config: DomainConfig, vendor: str = "") -> Processors:
    """`vendor` is the host's, as CPUID says it.  A domain that never moves may see the real clock."""
    is_hvm = config.kind is Kind.HVM
    return Processors(
        tuple(cpuid.overrides(config, vendor).items()),
        tuple((line.vcpu, line.pcpus) for line in config.cpus_affinity if line.vcpu < config.vcpus),
        pae=config.pae if is_hvm else True,
        itsc=config.disable_migrate,
        nested=config.kind is not Kind.PV and config.nested,
    )


def domain_spec(config: DomainConfig, uuid: Uuid) -> DomainSpec:
    is_pv = config.kind is Kind.PV
    return DomainSpec(
        uuid,
        config.kind,
        config.vcpus,
        hap=not is_pv and _wants_hap(config),
        nested=not is_pv and config.nested,
        iommu=bool(config.pci),
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
    params = tuple(_hvm_params(config))
    return Limits(maximum, paging_pool_kib=memory.paging_pool_kib(size), hvm_params=params)


@dataclass(frozen=True, slots=True)
class Timer:
    """A setting of a machine's clocks, by a key of its own or a `platform` line of that name."""

    key: str
    param: HvmParam
    most: int


TIMERS = (
    Timer("timer-mode", HvmParam.TIMER_MODE, 3),
    Timer("hpet", HvmParam.HPET_ENABLED, 1),
    Timer("vpt-align", HvmParam.VPT_ALIGN, (1 << 64) - 1),
)


def _timers(config: DomainConfig) -> dict[HvmParam, int]:
    """A `platform` line that makes sense wins over the key; firmware and guest read all of them."""
    lines = {pair.name: pair.value for pair in config.platform}
    found = {}
    for timer in TIMERS:
        line = lines.get(timer.key, "")
        value = int(line) if _makes_sense(timer, line) else _key_of(timer, config)
        if value is not None:
            found[timer.param] = value
    return found


def _key_of(timer: Timer, config: DomainConfig) -> int | None:
    value: int | None = getattr(config, timer.key.replace("-", "_"))
    return value


def _makes_sense(timer: Timer, text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) <= timer.most


def _hvm_params(config: DomainConfig) -> Iterator[tuple[HvmParam, int]]:
    timers = {HvmParam.TIMER_MODE: NO_DELAY_FOR_MISSED_TICKS} | _timers(config)
    yield HvmParam.TIMER_MODE, timers.pop(HvmParam.TIMER_MODE)
    if config.kind is Kind.HVM:
        yield from timers.items()
        if config.viridian:
            yield HvmParam.VIRIDIAN, VIRIDIAN_GROUPS
    yield HvmParam.ALTP2M, 0


def hvm_image_spec(config: DomainConfig, hardware: Hardware) -> HvmImageSpec:
    """The ports are unknown yet, and 0."""
    size = memory.size_of(config)
    loader = config.kernel if config.kernel and not hardware.is_direct else hardware.firmware.loader
    return HvmImageSpec(
        loader=loader,
        firmware=hardware.firmware.bios,
        memory_kib=memory.build_max_mib(size) * memory.KIB_PER_MIB,
        target_kib=memory.build_start_mib(size) * memory.KIB_PER_MIB,
        max_vcpus=config.vcpus,
        store_port=0,
        console_port=0,
        apic=config.apic,
        acpi_table=hardware.acpi_table if config.acpi_pt else b"",
        smbios=smbios_module(hardware.smbios, oem_types(config)) if config.smbios_pt else b"",
    )


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


def missing_capabilities(config: DomainConfig, host: PhysInfo) -> tuple[str, ...]:
    """In the words of the host's capability list."""
    needs = {
        "pv": (config.kind is Kind.PV, host.has_pv),
        "hvm": (config.kind is not Kind.PV, host.has_hvm),
        "directio": (config.kind is Kind.HVM and bool(config.pci), host.has_directio),
    }
    return tuple(name for name, (needed, there) in needs.items() if needed and not there)


def mistakes(config: DomainConfig, files: Files) -> Iterator[str]:
    """Why the config as it stands can make no domain: all reasons, each naming its key."""
    yield from size_mistakes(config)
    if config.kind is Kind.HVM:
        yield from _hvm_mistakes(config, files)
    if not config.kernel and config.kind is not Kind.HVM:
        yield "kernel is not configured"
    if config.kernel and (problem := files.kernel_problem(config.kernel)):
        yield f"kernel: {problem}"
    if config.initrd and not files.is_readable(config.initrd):
        yield f"initrd: cannot read {config.initrd}"


def size_mistakes(config: DomainConfig) -> Iterator[str]:
    """Those that also matter to a guest which brings its image with it."""
    if config.memory_kib is None:
        yield "memory is not configured"
    elif config.static_max_kib is not None and config.static_max_kib < config.memory_kib:
        yield "memory-max is less than memory"
    if config.vcpus > MAX_VCPUS[config.kind]:
        yield f"vcpus={config.vcpus} is more than the {MAX_VCPUS[config.kind]} of a {config.kind} domain"


def _stubdom_mistakes(config: DomainConfig, files: Files) -> Iterator[str]:
    if config.stubdom == config.uuid:
        yield "stubdom is the VM's own uuid"
    if problem := files.kernel_problem(config.stubdom_kernel):
        yield f"stubdom-kernel: {problem}"
    if config.stubdom_initrd and not files.is_readable(config.stubdom_initrd):
        yield f"stubdom-initrd: cannot read {config.stubdom_initrd}"


def _hvm_mistakes(config: DomainConfig, files: Files) -> Iterator[str]:
    if config.stubdom is not None:
        yield from _stubdom_mistakes(config, files)
    if not config.qemu_dm_path:
        yield "qemu-dm-path is empty: an HVM domain cannot run without a device model"
    video = video_mib(config)
    if config.memory_kib is not None and memory.mib_up(config.memory_kib) <= video:
        yield f"memory is not more than its {video} MiB of video memory"
    if config.pci and (config.static_max_kib or 0) > (config.memory_kib or 0):
        yield "memory-max is more than memory: PCI devices cannot reach memory that comes later"
    for timer in TIMERS:
        value = _key_of(timer, config)
        if value is not None and value > timer.most:
            yield f"{timer.key}={value} is more than {timer.most}"
    yield from hardware_mistakes(config)


def not_built_yet(config: DomainConfig) -> Iterator[str]:
    """Every key that asks for a part which does not exist yet."""
    asked = {
        "qemu-dm-path": config.wants_device_model and config.kind is Kind.PVH,
        "memory-max": config.kind is Kind.PVH and config.static_max_kib != config.memory_kib,
    }
    yield from (key for key, wanted in asked.items() if wanted)
    yield from checks.not_built_yet(config)


def without_effect(config: DomainConfig) -> Iterator[str]:
    """Every key that is set and changes nothing here: worth a warning, no reason to refuse."""
    asked = {
        "xci-cpuid-signature": config.xci_cpuid_signature,
        "xci-service": config.xci_service,
    }
    yield from (key for key, wanted in asked.items() if wanted)
    by_key = {timer.key: timer for timer in TIMERS} if config.kind is Kind.HVM else {}
    for pair in config.platform:
        if pair.name in by_key and not _makes_sense(by_key[pair.name], pair.value):
            yield f"platform={pair.name}={pair.value}"
