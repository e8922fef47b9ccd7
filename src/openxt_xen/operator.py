# SPDX-License-Identifier: GPL-2.0-or-later
"""What only an operator's tool asks of a hypervisor: scheduling, figures, the watchdog.

Monitors need none of this; what they need is in `hypervisor`.  Two keepers here as well: `libxc_operator` and
`simulated_operator`.  Every call may block, and raises XenError with errno.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from openxt_core.errors import BadRequest
from openxt_core.ids import Domid
from openxt_xen.hypervisor import DomainInfo

SIMULATED = "simulated:"


@dataclass(frozen=True, slots=True)
class Scheduling:
    """A domain's share of the processors.  `cap`: percent of one of them, 0 for no limit."""

    weight: int
    cap: int


@dataclass(frozen=True, slots=True)
class CpuFacts:
    threads_per_core: int
    cores_per_socket: int
    khz: int


@dataclass(frozen=True, slots=True)
class DomainDetail:
    """What Xen's list of domains says beyond DomainInfo."""

    info: DomainInfo
    running: bool
    blocked: bool
    shared_info_frame: int
    online_vcpus: int
    max_vcpu_id: int  # -1: it has none
    ssidref: int


class Operator(Protocol):
    """Times in ns."""

    def close(self) -> None: ...

    def details(self) -> Sequence[DomainDetail]:
        """All domains, ascending domid."""
        ...

    def cpu_facts(self) -> CpuFacts: ...

    def idle_times(self) -> Sequence[int]:
        """How long each processor had nothing to do, since the host started."""
        ...

    def scheduling(self, domid: Domid) -> Scheduling:
        """ENOSYS with a scheduler that knows no weights."""
        ...

    def set_scheduling(self, domid: Domid, wanted: Scheduling) -> None: ...

    def affinity(self, domid: Domid, vcpu: int) -> frozenset[int]:
        """The processors that a vcpu may run on."""
        ...

    def send_debug_keys(self, keys: str) -> None:
        """Xen answers in its log."""
        ...

    def watchdog(self, slot: int, timeout_s: int) -> int:
        """A timer that shuts the calling domain down unless it is set anew.

        Slot 0 takes a free one and returns its number; a `timeout_s` of 0 ends it.
        """
        ...

    def enforcing(self) -> bool:
        """Whether the security policy is enforced.  ENOSYS where Xen was built without one."""
        ...

    def set_enforcing(self, enforcing: bool) -> None: ...


def open_operator(environ: Mapping[str, str]) -> Operator:
    """By OPENXT_HYPERVISOR, as `open_hypervisor`.  Imports only the keeper that is asked for.

    Raises Unavailable when it cannot be reached, BadRequest for another word.
    """
    wanted = environ.get("OPENXT_HYPERVISOR") or "libxc"
    if wanted.startswith(SIMULATED):
        from openxt_xen.simulated_operator import SimulatedOperator

        return SimulatedOperator(wanted.removeprefix(SIMULATED))
    if wanted != "libxc":
        raise BadRequest(f"OPENXT_HYPERVISOR is {wanted!r}: neither `libxc` nor `simulated:SOCKET`")
    from openxt_xen.libxc_operator import LibXcOperator

    return LibXcOperator()
