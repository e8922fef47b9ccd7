# SPDX-License-Identifier: GPL-2.0-or-later
"""`Operator` kept by libxenctrl of Xen 4.17.  Rules of the calls are those of `libxc_calls`."""

import errno
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from openxt_core.ids import Domid
from openxt_xen.hypervisor import XenError
from openxt_xen.libxc import native_module
from openxt_xen.libxc_calls import Calls
from openxt_xen.libxc_records import domain_info_of
from openxt_xen.operator import CpuFacts, DomainDetail, Scheduling

_INFOS_PER_CALL = 1024
_NO_SCHEDULING = "this host's scheduler knows no weights"


class LibXcOperator:
    """Fulfils `Operator`.  Source: xenctrl.h, xen/domctl.h, xen/sysctl.h (4.17)."""

    def __init__(self) -> None:
        """Raises XenError where there is no Xen, Unavailable where the module was not compiled."""
        native = native_module()
        self._calls = Calls(native.ffi, native.lib)
        self._ffi, self._lib = native.ffi, native.lib

    def close(self) -> None:
        self._calls.close()

    def _do(self, name: str, *arguments: Any) -> int:
        return self._calls.number(name, self._calls.handle, *arguments)

    def _on(self, domid: Domid, name: str, *arguments: Any) -> int:
        """A call about a domain.  Numbers above the last domain's mean other things to Xen: "myself"."""
        if not 0 <= domid < int(self._lib.DOMID_FIRST_RESERVED):
            raise XenError(name, errno.ESRCH)
        return self._do(name, domid, *arguments)

    # Figures

    def details(self) -> Sequence[DomainDetail]:
        return list(self._details())

    def _details(self) -> Iterator[DomainDetail]:
        page = self._ffi.new("xc_domaininfo_t[]", _INFOS_PER_CALL)
        first = 0
        while True:
            count = self._do("xc_domain_getinfolist", first, _INFOS_PER_CALL, page)
            yield from (self._detail(page[number]) for number in range(count))
            if count < _INFOS_PER_CALL:
                return
            first = page[count - 1].domain + 1

    def _detail(self, raw: Any) -> DomainDetail:
        has_vcpus = raw.max_vcpu_id != self._lib.XEN_INVALID_MAX_VCPU_ID
        return DomainDetail(
            info=domain_info_of(self._lib, raw),
            running=bool(raw.flags & self._lib.XEN_DOMINF_running),
            blocked=bool(raw.flags & self._lib.XEN_DOMINF_blocked),
            shared_info_frame=raw.shared_info_frame,
            online_vcpus=raw.nr_online_vcpus,
            max_vcpu_id=raw.max_vcpu_id if has_vcpus else -1,
            ssidref=raw.ssidref,
        )

    def cpu_facts(self) -> CpuFacts:
        host = self._ffi.new("xc_physinfo_t *")
        self._do("xc_physinfo", host)
        return CpuFacts(host.threads_per_core, host.cores_per_socket, host.cpu_khz)

    def idle_times(self) -> Sequence[int]:
        limit = self._do("xc_get_max_cpus")
        infos = self._ffi.new("xc_cpuinfo_t[]", limit)
        count = self._ffi.new("int *")
        self._do("xc_getcpuinfo", limit, infos, count)
        return [int(infos[number].idletime) for number in range(count[0])]

    # Scheduling

    def scheduling(self, domid: Domid) -> Scheduling:
        found = self._scheduler("get")(domid, None)
        return Scheduling(found.weight, found.cap)

    def set_scheduling(self, domid: Domid, wanted: Scheduling) -> None:
        self._scheduler("set")(domid, wanted)

    def _scheduler(self, act: str) -> Callable[[Domid, Scheduling | None], Any]:
        """credit and credit2 have the same two words."""
        number = self._ffi.new("int *")
        self._do("xc_sched_id", number)
        names = {self._lib.XEN_SCHEDULER_CREDIT: "credit", self._lib.XEN_SCHEDULER_CREDIT2: "credit2"}
        if number[0] not in names:
            raise XenError(f"xc_sched_domain_{act}", errno.ENOSYS, _NO_SCHEDULING)
        name = names[number[0]]

        def call(domid: Domid, wanted: Scheduling | None) -> Any:
            record = self._ffi.new(f"struct xen_domctl_sched_{name} *")
            if wanted is not None:
                try:
                    record.weight, record.cap = wanted.weight, wanted.cap
                except OverflowError as error:
                    raise XenError(f"xc_sched_{name}_domain_{act}", errno.EINVAL, str(error)) from error
            self._on(domid, f"xc_sched_{name}_domain_{act}", record)
            return record

        return call

    def affinity(self, domid: Domid, vcpu: int) -> frozenset[int]:
        cpus = self._ffi.new("uint8_t[]", self._do("xc_get_cpumap_size"))
        hard = self._lib.XEN_VCPUAFFINITY_HARD
        self._on(domid, "xc_vcpu_getaffinity", vcpu, cpus, self._ffi.NULL, hard)
        # Xen says "any" with all bits: those of processors that the host has are what matters
        count = len(self.idle_times())
        return frozenset(cpu for cpu in range(count) if cpus[cpu // 8] & 1 << cpu % 8)

    # The host

    def send_debug_keys(self, keys: str) -> None:
        self._do("xc_send_debug_keys", keys.encode())

    def watchdog(self, slot: int, timeout_s: int) -> int:
        return self._do("xc_watchdog", slot, timeout_s)

    def enforcing(self) -> bool:
        return bool(self._do("xc_flask_getenforce"))

    def set_enforcing(self, enforcing: bool) -> None:
        self._do("xc_flask_setenforce", int(enforcing))
