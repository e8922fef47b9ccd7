# SPDX-License-Identifier: GPL-2.0-or-later
"""What libxenctrl's records mean: C structures → the frozen types of `hypervisor`.  Pure.

`lib` is anything that has the header's constants, a record anything that has the structure's fields.
Source: xen/domctl.h, xen/sysctl.h (4.17).
"""

from typing import Any

from openxt_core.ids import Domid, Uuid
from openxt_xen.hypervisor import DomainInfo, Kind, PhysInfo, ShutdownReason

KIB_PER_PAGE = 4


def physinfo_of(lib: Any, raw: Any) -> PhysInfo:
    """From xc_physinfo_t.  Claims of domains that are being built may exceed what is free: never below 0."""
    free_pages = max(0, raw.free_pages - raw.outstanding_pages)
    return PhysInfo(
        nr_cpus=raw.nr_cpus,
        total_kib=raw.total_pages * KIB_PER_PAGE,
        free_kib=free_pages * KIB_PER_PAGE,
        scrub_kib=raw.scrub_pages * KIB_PER_PAGE,
        has_hvm=bool(raw.capabilities & lib.XEN_SYSCTL_PHYSCAP_hvm),
        has_pv=bool(raw.capabilities & lib.XEN_SYSCTL_PHYSCAP_pv),
        has_directio=bool(raw.capabilities & lib.XEN_SYSCTL_PHYSCAP_directio),
        has_hap=bool(raw.capabilities & lib.XEN_SYSCTL_PHYSCAP_hap),
        has_shadow=bool(raw.capabilities & lib.XEN_SYSCTL_PHYSCAP_shadow),
    )


def domain_info_of(lib: Any, raw: Any) -> DomainInfo:
    """From xc_domaininfo_t.  `vcpus` are those it has, not those its kernel has brought up."""
    has_vcpus = raw.max_vcpu_id != lib.XEN_INVALID_MAX_VCPU_ID
    return DomainInfo(
        domid=Domid(raw.domain),
        uuid=uuid_of(bytes(raw.handle)),
        kind=Kind.HVM if raw.flags & lib.XEN_DOMINF_hvm_guest else Kind.PV,
        paused=bool(raw.flags & lib.XEN_DOMINF_paused),
        dying=bool(raw.flags & lib.XEN_DOMINF_dying),
        shutdown=shutdown_of(lib, raw.flags),
        memory_kib=raw.tot_pages * KIB_PER_PAGE,
        max_memory_kib=raw.max_pages * KIB_PER_PAGE,
        vcpus=raw.max_vcpu_id + 1 if has_vcpus else 0,
        cpu_time_ns=raw.cpu_time,
    )


def shutdown_of(lib: Any, flags: int) -> ShutdownReason | None:
    """None while the domain lives.  A guest may give any number: one without a name is a crash."""
    if not flags & lib.XEN_DOMINF_shutdown:
        return None
    guest_reason = flags >> lib.XEN_DOMINF_shutdownshift & lib.XEN_DOMINF_shutdownmask
    try:
        return ShutdownReason(guest_reason)
    except ValueError:
        return ShutdownReason.CRASH


def handle_of(uuid: Uuid) -> bytes:
    """Xen keeps the 16 bytes in the order in which the text has them."""
    return bytes.fromhex(uuid.replace("-", ""))


def uuid_of(handle: bytes) -> Uuid:
    """The reverse of `handle_of`."""
    text = handle.hex()
    return Uuid("-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])))
