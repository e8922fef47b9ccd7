# SPDX-License-Identifier: GPL-2.0-or-later
"""What an operator's tool may ask of the simulated machine: scheduling, figures, watchdogs.  No I/O.

Refusals carry the errno that Xen 4.17 gives.  The host has the credit2 scheduler and no security policy.
"""

import errno
from dataclasses import asdict, dataclass
from typing import Any

from openxt_core.ids import DOM0, Domid
from openxt_xen.hypervisor import Kind, XenError

MAX_WEIGHT = 65535
WATCHDOG_SLOTS = 2  # Source: xen/include/xen/sched.h (4.17), NR_DOMAIN_WATCHDOG_TIMERS
KHZ = 2_000_000


@dataclass
class Operated:
    """Of one domain."""

    weight: int = 256
    cap: int = 0
    target: Domid | None = None


class Operating:
    """`machine` is a Machine: named loosely, since it holds us."""

    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self._watchdogs: dict[int, int] = {}

    def details(self) -> list[dict[str, Any]]:
        return [self._detail(domain) for domain in self._machine.domains.values()]

    def _detail(self, domain: Any) -> dict[str, Any]:
        runs = domain.is_running or domain.domid == DOM0
        return {
            "info": asdict(domain.info()),
            "running": runs,
            "blocked": False,
            "shared_info_frame": 0,
            "online_vcpus": domain.vcpus if runs else 0,
            "max_vcpu_id": domain.vcpus - 1,
            "ssidref": 0,
        }

    def cpu_facts(self) -> dict[str, int]:
        return {"threads_per_core": 1, "cores_per_socket": self._machine.cpus, "khz": KHZ}

    def idle_times(self) -> list[int]:
        return [1_000_000_000] * self._machine.cpus

    def scheduling(self, domid: Domid) -> dict[str, int]:
        operated = self._operated("scheduling", domid)
        return {"weight": operated.weight, "cap": operated.cap}

    def set_scheduling(self, domid: Domid, weight: int, cap: int) -> None:
        operated = self._operated("set_scheduling", domid)
        if not (0 < weight <= MAX_WEIGHT and 0 <= cap <= MAX_WEIGHT):
            raise XenError("set_scheduling", errno.EINVAL)
        operated.weight, operated.cap = weight, cap

    def affinity(self, domid: Domid, vcpu: int) -> list[int]:
        self._vcpu("affinity", domid, vcpu)
        every = frozenset(range(self._machine.cpus))
        return sorted(self._machine.domain("affinity", domid).affinity.get(vcpu, every))

    def _vcpu(self, call: str, domid: Domid, vcpu: int) -> None:
        if not 0 <= vcpu < self._machine.domain(call, domid).vcpus:
            raise XenError(call, errno.EINVAL if vcpu < 0 else errno.ESRCH)

    def set_target(self, domid: Domid, target: Domid) -> None:
        operated, served = self._operated("set_target", domid), self._machine.domain("set_target", target)
        if domid in (DOM0, target) or operated.target is not None:
            raise XenError("set_target", errno.EINVAL)
        if served.kind is Kind.PV:
            raise XenError("set_target", errno.EOPNOTSUPP)
        operated.target = target

    def send_debug_keys(self, keys: str) -> None:
        self._machine.log += [f"(XEN) '{key}' pressed" for key in keys]

    def watchdog(self, slot: int, timeout_s: int) -> int:
        if slot == 0:
            free = [number for number in range(1, WATCHDOG_SLOTS + 1) if number not in self._watchdogs]
            if not timeout_s or not free:
                raise XenError("watchdog", errno.EINVAL if not timeout_s else errno.ENOSPC)
            self._watchdogs[free[0]] = timeout_s
            return free[0]
        if slot not in self._watchdogs:
            raise XenError("watchdog", errno.EINVAL)
        if timeout_s:
            self._watchdogs[slot] = timeout_s
        else:
            del self._watchdogs[slot]
        return 0

    def enforcing(self) -> bool:
        raise XenError("enforcing", errno.ENOSYS)

    def _operated(self, call: str, domid: Domid) -> Operated:
        operated: Operated = self._machine.domain(call, domid).operated
        return operated
