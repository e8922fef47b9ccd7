# SPDX-License-Identifier: GPL-2.0-or-later
"""`Operator` kept by the simulated host, over the socket that `simulated` speaks on."""

from collections.abc import Sequence

from openxt_core.ids import Domid
from openxt_xen.operator import CpuFacts, DomainDetail, Scheduling
from openxt_xen.simulated import SimulatedHypervisor, info_of


class SimulatedOperator(SimulatedHypervisor):
    """Fulfils `Operator`."""

    def details(self) -> Sequence[DomainDetail]:
        return [
            DomainDetail(**fields | {"info": info_of(fields["info"])}) for fields in self._call("details")
        ]

    def cpu_facts(self) -> CpuFacts:
        return CpuFacts(**self._call("cpu_facts"))

    def idle_times(self) -> Sequence[int]:
        return [int(time) for time in self._call("idle_times")]

    def scheduling(self, domid: Domid) -> Scheduling:
        return Scheduling(**self._call("scheduling", domid=domid))

    def set_scheduling(self, domid: Domid, wanted: Scheduling) -> None:
        self._call("set_scheduling", domid=domid, weight=wanted.weight, cap=wanted.cap)

    def affinity(self, domid: Domid, vcpu: int) -> frozenset[int]:
        return frozenset(self._call("affinity", domid=domid, vcpu=vcpu))

    def send_debug_keys(self, keys: str) -> None:
        self._call("send_debug_keys", keys=keys)

    def watchdog(self, slot: int, timeout_s: int) -> int:
        return int(self._call("watchdog", slot=slot, timeout_s=timeout_s))

    def enforcing(self) -> bool:
        return bool(self._call("enforcing"))

    def set_enforcing(self, enforcing: bool) -> None:
        self._call("set_enforcing", enforcing=enforcing)
