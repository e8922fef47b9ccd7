# SPDX-License-Identifier: GPL-2.0-or-later
"""What xenops prints: values → text.  Pure.  Source: OpenXT xenops, 2015."""

from collections.abc import Sequence

from openxt_xen.hypervisor import PhysInfo
from openxt_xen.operator import CpuFacts, DomainDetail
from openxt_xenvm.devices.base import XenbusState

SEPARATOR = " | "
KIB_PER_MIB = 1024
KIB_PER_PAGE = 4

SHORT_HEADER = ("id", "state", "cpu_time", "uuid")
LONG_HEADER = (
    *("id", "state", "shutdown code", "total MiB", "max MiB", "sif", "cpu time", "vcpus online"),
    *("max vcpu id", "ssidref", "uuid"),
)

# Letter of a state and how to see it; a blank where it is not set.
LETTERS = (
    ("D", lambda detail: detail.info.dying),
    ("S", lambda detail: detail.info.shutdown is not None),
    ("P", lambda detail: detail.info.paused),
    ("B", lambda detail: detail.blocked),
    ("R", lambda detail: detail.running),
    ("H", lambda detail: detail.info.kind != "pv"),
)

STATE_WORDS = {
    XenbusState.UNKNOWN: "unknown",
    XenbusState.INITIALISING: "initialising",
    XenbusState.INIT_WAIT: "initwait",
    XenbusState.INITIALISED: "initialised",
    XenbusState.CONNECTED: "connected",
    XenbusState.CLOSING: "closing",
    XenbusState.CLOSED: "closed",
    XenbusState.RECONFIGURING: "reconfiguring",
    XenbusState.RECONFIGURED: "reconfigured",
}


def letters(detail: DomainDetail) -> str:
    return "".join(letter if is_so(detail) else " " for letter, is_so in LETTERS)


def short_row(detail: DomainDetail) -> tuple[str, ...]:
    info = detail.info
    return (str(info.domid), letters(detail), str(info.cpu_time_ns), info.uuid)


def long_row(detail: DomainDetail) -> tuple[str, ...]:
    info = detail.info
    return (
        str(info.domid),
        letters(detail),
        str(0 if info.shutdown is None else int(info.shutdown)),
        str(info.memory_kib // KIB_PER_MIB),
        str(info.max_memory_kib // KIB_PER_MIB),
        str(detail.shared_info_frame),
        str(info.cpu_time_ns),
        str(detail.online_vcpus),
        str(detail.max_vcpu_id),
        str(detail.ssidref),
        info.uuid,
    )


def table(details: Sequence[DomainDetail], *, verbose: bool) -> str:
    """Right aligned columns under their names."""
    header, row = (LONG_HEADER, long_row) if verbose else (SHORT_HEADER, short_row)
    rows = [header, *map(row, details)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        SEPARATOR.join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)) for cells in rows
    )


def physinfo(host: PhysInfo, cpus: CpuFacts) -> str:
    capabilities = {"hvm": host.has_hvm, "directio": host.has_directio}
    lines = {
        "nr_cpus": str(host.nr_cpus),
        "threads_per_core": str(cpus.threads_per_core),
        "cores_per_socket": str(cpus.cores_per_socket),
        "cpu_khz": str(cpus.khz),
        "total_pages": _pages(host.total_kib),
        "free_pages": _pages(host.free_kib),
        "scrub_pages": _pages(host.scrub_kib),
        "capabilities": " ".join(name for name, has in capabilities.items() if has),
    }
    return "\n".join(f"{name} = {value}".rstrip() for name, value in lines.items())


def _pages(kib: int) -> str:
    return f"{kib // KIB_PER_PAGE} ({kib // KIB_PER_MIB} Mb)"


def idle_times(times: Sequence[int]) -> str:
    """`usage`, sic: it is the time in which there was nothing to do."""
    return "\n".join(f"cpu: {cpu}  usage: {time}" for cpu, time in enumerate(times))


def affinity(cpus: frozenset[int], count: int) -> str:
    return "".join("1" if cpu in cpus else "0" for cpu in range(count))


def xenbus_state(guest_value: str | None) -> str:
    """`gone` without a node; a number that is none of xenbus's is unknown."""
    if guest_value is None:
        return "gone"
    known = guest_value in [str(state) for state in XenbusState]
    return STATE_WORDS[XenbusState(int(guest_value)) if known else XenbusState.UNKNOWN]
