# SPDX-License-Identifier: GPL-2.0-or-later
"""How much memory a domain needs, and which limits it gets.  Pure.

Everything is in MiB or KiB, as the name says; what is used is rounded up.
Sources: OpenXT xenops, 2015, for the footprint; libxl 4.17 for the limits and the paging pool.
"""

from dataclasses import dataclass

from openxt_xen.hypervisor import Kind
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.domain.video import video_mib

KIB_PER_MIB = 1024
KIB_PER_PAGE = 4
PAGES_PER_MIB = 256
PAGES_PER_VCPU = 256  # of paging structures

MAXMEM_SLACK_KIB = 1024
"""Above static-max, for what the toolstack itself adds to a domain (libxl's constant)."""


@dataclass(frozen=True, slots=True)
class Extra:
    """MiB beside the guest's own memory."""

    internal: int  # counted by Xen as the domain's
    external: int  # not counted


EXTRAS = {Kind.HVM: Extra(1, 1), Kind.PVH: Extra(1, 1), Kind.PV: Extra(0, 1)}


@dataclass(frozen=True, slots=True)
class Size:
    kind: Kind
    static_max_mib: int
    target_mib: int
    vcpus: int
    video_mib: int = 0
    shadow_multiplier: float = 1.0


def mib_up(kib: int) -> int:
    return -(-kib // KIB_PER_MIB)


def size_of(config: DomainConfig) -> Size:
    """Raises ValueError when the config gives no memory."""
    if config.memory_kib is None or config.static_max_kib is None:
        raise ValueError("memory is not configured")
    return Size(
        config.kind,
        mib_up(config.static_max_kib),
        mib_up(config.memory_kib),
        config.vcpus,
        video_mib(config),
    )


def build_max_mib(size: Size) -> int:
    return size.static_max_mib - size.video_mib


def build_start_mib(size: Size) -> int:
    return size.target_mib - size.video_mib


def xen_max_mib(size: Size) -> int:
    """The domain's limit as the original set it."""
    return size.static_max_mib + EXTRAS[size.kind].internal


def max_memory_kib(size: Size) -> int:
    """The domain's limit."""
    return size.static_max_mib * KIB_PER_MIB + MAXMEM_SLACK_KIB


def shadow_mib(size: Size) -> int:
    """Paging structures: per vcpu, one page per MiB for the p2m, one for what is resident."""
    pages = PAGES_PER_VCPU * size.vcpus + 2 * size.static_max_mib
    return max(1, int(size.shadow_multiplier * -(-pages // PAGES_PER_MIB)))


def paging_pool_kib(size: Size) -> int:
    """HVM and PVH.  The formula of a guest without HAP: safe for both."""
    return KIB_PER_PAGE * (PAGES_PER_VCPU * size.vcpus + 2 * size.static_max_mib)


def overhead_mib(size: Size) -> int:
    extra = EXTRAS[size.kind]
    return extra.internal + extra.external + shadow_mib(size)


def footprint_mib(size: Size) -> int:
    return size.target_mib + overhead_mib(size)


def required_to_boot_kib(config: DomainConfig) -> int:
    """Free host memory that a start needs, its stub domain included.  ValueError: no memory configured."""
    total = footprint_mib(size_of(config))
    if config.stubdom is not None:
        stubdom_mib = mib_up(config.stubdom_memory_kib)
        total += footprint_mib(Size(Kind.PV, stubdom_mib, stubdom_mib, 1))
    return total * KIB_PER_MIB


def page_aligned_kib(kib: int) -> int:
    return kib - kib % KIB_PER_PAGE
