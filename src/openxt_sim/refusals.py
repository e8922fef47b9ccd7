# SPDX-License-Identifier: GPL-2.0-or-later
"""What Xen refuses by looking at the values of a request alone, and with which errno.  Pure.

Each function gives the errno, or 0 for a request that may be granted.  The host that is meant has no IOMMU
and a hypervisor without shadow paging, as Debian's.  Source: measured on Xen 4.17; xen/arch/x86/domain.c,
xen/arch/x86/hvm/hvm.c, xen/lib/x86/cpuid.c.
"""

import errno
from collections.abc import Mapping, Sequence

from openxt_xen.hypervisor import DomainSpec, HvmParam, Kind

MAX_VCPUS = {Kind.PV: 8192, Kind.PVH: 128, Kind.HVM: 128}
VCPU_LIMIT = 8192  # a larger number is not even looked for
ACPI_STATES = (0, 3)  # awake, asleep
MAX_TIMER_MODE = 3
VIRIDIAN_BASE, VIRIDIAN_KNOWN = 1 << 0, (1 << 13) - 1  # groups of enlightenments

# Triggers: 0 nmi, 1 reset, 2 init, 3 power button, 4 sleep button
HANDLED_TRIGGERS = (0, 3, 4)
BUTTONS = (3, 4)

# Leaves that a policy holds.  Those of the second table are asked for with a subleaf, others without.
CPUID_LEAVES = (range(0xE), range(0x4000_0000, 0x4000_0001), range(0x8000_0000, 0x8000_0022))
CPUID_WITH_SUBLEAVES = (4, 7, 0xB, 0xD)
CPUID_LETTERS = frozenset("01xks")


def of_creation(spec: DomainSpec, *, iommu: bool = False) -> int:
    is_hvm = spec.kind is not Kind.PV
    if not 1 <= spec.max_vcpus <= MAX_VCPUS[spec.kind] or (spec.iommu and not iommu):
        return errno.EINVAL
    if spec.nested and not (is_hvm and spec.hap):
        return errno.EINVAL
    return errno.EOPNOTSUPP if is_hvm and not spec.hap else 0


def of_param(param: int, present: int, value: int) -> int:
    if param == HvmParam.ACPI_S_STATE and value not in ACPI_STATES:
        return errno.EINVAL
    if param == HvmParam.TIMER_MODE and value > MAX_TIMER_MODE:
        return errno.EINVAL
    if param == HvmParam.VIRIDIAN and (not value & VIRIDIAN_BASE or value & ~VIRIDIAN_KNOWN):
        return errno.EINVAL
    is_chosen_for_good = param in (HvmParam.ALTP2M, HvmParam.VIRIDIAN) and present != 0
    return errno.EEXIST if is_chosen_for_good and value != present else 0


def of_trigger(trigger: int, vcpu: int, vcpus: int, *, is_hvm: bool) -> int:
    if not 0 <= vcpu < VCPU_LIMIT:
        return errno.EINVAL
    if vcpu >= vcpus:
        return errno.ESRCH
    if trigger not in HANDLED_TRIGGERS:
        return errno.ENOSYS
    return errno.EINVAL if trigger in BUTTONS and not is_hvm else 0


def of_button(kind: Kind) -> int:
    """Full machines alone have the hardware."""
    return {Kind.HVM: 0, Kind.PVH: errno.ENOENT, Kind.PV: errno.EINVAL}[kind]


def of_cpuid(overrides: Mapping[tuple[int, int | None], Sequence[str | None]]) -> int:
    are_known = all(_is_cpuid_place(leaf, subleaf) for leaf, subleaf in overrides)
    are_masks = all(_are_cpuid_masks(masks) for masks in overrides.values())
    return 0 if are_known and are_masks else errno.EINVAL


def _is_cpuid_place(leaf: int, subleaf: int | None) -> bool:
    is_known = any(leaf in leaves for leaves in CPUID_LEAVES)
    return is_known and (subleaf is not None) is (leaf in CPUID_WITH_SUBLEAVES)


def _are_cpuid_masks(masks: Sequence[str | None]) -> bool:
    return len(masks) == 4 and all(
        mask is None or (len(mask) == 32 and CPUID_LETTERS.issuperset(mask)) for mask in masks
    )


def of_kernel(head: bytes | None) -> int:
    """`head`: the file's first bytes, None without a file.  A script is no kernel; other files pass."""
    if head is None:
        return errno.ENOENT
    return errno.ENOEXEC if not head or head.startswith(b"#!") else 0


def of_ramdisk(head: bytes | None) -> int:
    if head is None:
        return errno.ENOENT
    return 0 if head else errno.EINVAL
