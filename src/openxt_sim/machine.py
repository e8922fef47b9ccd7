# SPDX-License-Identifier: GPL-2.0-or-later
"""Domains as the hypervisor counts them: memory, vcpus, event channels, life and death.  No I/O.

Refusals carry the errno that Xen 4.17 gives; `refusals` has those that need no domain to be looked at.
What a guest does with its life is the business of `guests`.
"""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from openxt_core.ids import DOM0, DOM0_UUID, Domid, Uuid
from openxt_sim import ranges, refusals
from openxt_sim.operating import Operated, Operating
from openxt_xen.hypervisor import (
    POWER_BUTTON,
    DomainInfo,
    DomainSpec,
    HvmBuilt,
    HvmImageSpec,
    HvmParam,
    ImageSpec,
    Kind,
    PhysInfo,
    PowerButton,
    Rings,
    ShutdownReason,
    Version,
    XenError,
)

FIRST_RESERVED_DOMID = 0x7FF0
MAX_PORT = 1023
MAX_PAUSES = 255
PORTS, INTERRUPTS = 65536, 256
HVM_PARAMS = 39
DOM0_KIB = 512 * 1024
KIB_PER_PAGE = 4
PVH_EXTRA_KIB = 40  # pages that the builder adds: rings, start info, tables
OVERHEAD_KIB = 1024  # about what Xen itself takes for a small domain
HVM_EXTRA_KIB = 64  # and here: rings, pages of the device model; the VGA hole holds none
VGA_HOLE_KIB = 128
SPECIAL_PFN = 0xFF000 - 8  # of an HVM or PVH domain: the frames that the builder lays out
TABLES_ADDRESS = 0x200000  # of an HVM domain: behind hvmloader
VERSION = Version(4, 17, ".0-simulated", "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_64")


@dataclass
class Domain:
    domid: Domid
    uuid: Uuid
    kind: Kind
    vcpus: int
    pauses: int = 1
    max_memory_kib: int = 0
    memory_kib: int = 0
    paging_kib: int = 0
    shutdown: ShutdownReason | None = None
    image: ImageSpec | HvmImageSpec | None = None  # None: not built
    ports: dict[int, Domid] = field(default_factory=dict)  # unbound: who may bind
    bound: set[int] = field(default_factory=set)
    params: dict[int, int] = field(default_factory=dict)
    affinity: dict[int, frozenset[int]] = field(default_factory=dict)
    operated: Operated = field(default_factory=Operated)
    has_iommu: bool = False
    allowed: dict[str, tuple[ranges.Range, ...]] = field(default_factory=dict)  # by kind
    interrupts: set[int] = field(default_factory=set)
    button: PowerButton = field(default_factory=PowerButton)
    runs: int = 0  # how often it was started, as a stand-in for the time it used

    @property
    def is_hvm(self) -> bool:
        return self.kind is not Kind.PV

    @property
    def is_running(self) -> bool:
        return self.image is not None and self.pauses == 0 and self.shutdown is None

    def info(self) -> DomainInfo:
        return DomainInfo(
            domid=self.domid,
            uuid=self.uuid,
            kind=Kind.HVM if self.is_hvm else Kind.PV,
            paused=self.pauses > 0,
            dying=False,
            shutdown=self.shutdown,
            memory_kib=self.memory_kib,
            max_memory_kib=self.max_memory_kib,
            vcpus=self.vcpus,
            cpu_time_ns=self.runs * 1_000_000,
        )


class Machine:
    """Every call may raise XenError.  Memory in KiB."""

    def __init__(self, memory_kib: int = 4096 * 1024, cpus: int = 4, *, iommu: bool = False) -> None:
        self.iommu = iommu
        self.assigned: dict[int, Domid] = {}  # PCI devices
        self.total_kib = memory_kib
        self.cpus = cpus
        self.log: list[str] = [f"(XEN) simulated, {cpus} cpus, {memory_kib} KiB"]
        self.operating = Operating(self)
        self._next_domid = 1
        dom0 = Domain(DOM0, DOM0_UUID, Kind.PV, cpus, pauses=0, memory_kib=DOM0_KIB)
        dom0.max_memory_kib = memory_kib
        self.domains: dict[Domid, Domain] = {DOM0: dom0}

    # The host

    def version(self) -> Version:
        return VERSION

    def physinfo(self) -> PhysInfo:
        return PhysInfo(self.cpus, self.total_kib, self.free_kib, 0, True, True, self.iommu, True)

    @property
    def free_kib(self) -> int:
        return self.total_kib - sum(
            domain.memory_kib + domain.paging_kib + (OVERHEAD_KIB if domain.domid else 0)
            for domain in self.domains.values()
        )

    def domain(self, call: str, domid: Domid) -> Domain:
        if domid not in self.domains:
            raise XenError(call, errno.ESRCH)
        return self.domains[domid]

    def _other(self, call: str, domid: Domid, error: int = errno.EINVAL) -> Domain:
        """Not the caller's own domain."""
        if domid == DOM0:
            raise XenError(call, error)
        return self.domain(call, domid)

    # Life

    def create_domain(self, spec: DomainSpec) -> Domid:
        _check("create_domain", refusals.of_creation(spec, iommu=self.iommu))
        if self.free_kib < OVERHEAD_KIB:
            raise XenError("create_domain", errno.ENOMEM)
        domid = self._unused_domid()
        self.domains[domid] = Domain(domid, spec.uuid, spec.kind, spec.max_vcpus, has_iommu=spec.iommu)
        self.domains = dict(sorted(self.domains.items()))
        return domid

    def _unused_domid(self) -> Domid:
        """The one after the last, so that a number comes back as late as possible."""
        for _ in range(FIRST_RESERVED_DOMID):
            domid = Domid(self._next_domid)
            self._next_domid = self._next_domid % (FIRST_RESERVED_DOMID - 1) + 1
            if domid not in self.domains:
                return domid
        raise XenError("create_domain", errno.ENOMEM)

    def destroy_domain(self, domid: Domid) -> None:
        self._other("destroy_domain", domid)
        del self.domains[domid]
        self.assigned = {device: owner for device, owner in self.assigned.items() if owner != domid}
        self.log.append(f"(XEN) d{domid} destroyed")

    def pause(self, domid: Domid) -> None:
        domain = self._other("pause", domid)
        if domain.pauses == MAX_PAUSES:
            raise XenError("pause", errno.EOVERFLOW)
        domain.pauses += 1

    def unpause(self, domid: Domid) -> None:
        """EINVAL when it is not paused; each pause needs its own unpause."""
        domain = self._other("unpause", domid)
        if domain.pauses == 0:
            raise XenError("unpause", errno.EINVAL)
        domain.pauses -= 1
        domain.runs += domain.is_running

    def shutdown(self, domid: Domid, reason: ShutdownReason) -> None:
        """The first reason stays."""
        domain = self._other("shutdown", domid, errno.EPERM)
        if domain.shutdown is None:
            domain.shutdown = reason
            self.log.append(f"(XEN) Domain {domid} shutdown: reason {reason.value} ({reason.name.lower()})")

    def resume(self, domid: Domid, *, fast: bool) -> None:
        domain = self._other("resume", domid)
        if fast and domain.shutdown is not ShutdownReason.SUSPEND:
            raise XenError("resume", errno.EINVAL)
        if domain.image is None and not domain.is_hvm:  # nothing that could be told of it
            raise XenError("resume", errno.ENODATA if fast else errno.EPERM)
        domain.shutdown = None

    def save(self, domid: Domid, *, live: bool) -> dict[str, Any]:
        """What `restore` needs.  EINVAL unless it is suspended, and for a live one of a PV domain: this host
        has no shadow paging."""
        domain = self._other("save", domid)
        if live and not domain.is_hvm:
            raise XenError("save", errno.EINVAL, "Failed to enable logdirty")
        if domain.image is None or domain.shutdown is not ShutdownReason.SUSPEND:
            raise XenError("save", errno.EINVAL, "the domain is not suspended")
        image, params = (
            _without_bytes(asdict(domain.image)),
            {str(param): value for param, value in domain.params.items()},
        )
        return {
            "kind": domain.kind,
            "memory_kib": domain.memory_kib,
            "image": image,
            "params": params,
            "button": asdict(domain.button),
        }

    def restore(self, domid: Domid, saved: Mapping[str, Any], store_port: int, console_port: int) -> Rings:
        """Rings and memory as they were, ports as they are now."""
        domain = self._other("restore", domid)
        if domain.image is not None or domain.kind != saved["kind"]:
            raise XenError("restore", errno.EINVAL)
        if saved["memory_kib"] > min(domain.max_memory_kib, self.free_kib):
            raise XenError("restore", errno.ENOMEM)
        domain.memory_kib = saved["memory_kib"]
        kind_of_image = HvmImageSpec if domain.kind is Kind.HVM else ImageSpec
        image = kind_of_image(**saved["image"])
        domain.image = replace(image, store_port=store_port, console_port=console_port)
        domain.params |= {int(param): value for param, value in saved["params"].items()}
        domain.button = PowerButton(**saved["button"])
        return self._lay_out(domain)

    # Memory

    def set_max_memory(self, domid: Domid, kib: int) -> None:
        domain = self.domain("set_max_memory", domid)
        if kib < 0:
            raise XenError("set_max_memory", errno.EINVAL)
        domain.max_memory_kib = kib // KIB_PER_PAGE * KIB_PER_PAGE

    def set_memory_map_limit(self, domid: Domid, kib: int) -> None:
        self.domain("set_memory_map_limit", domid)

    def set_paging_pool(self, domid: Domid, kib: int) -> None:
        domain = self.domain("set_paging_pool", domid)
        if not domain.is_hvm:
            raise XenError("set_paging_pool", errno.EOPNOTSUPP)
        if kib == 0 or kib - domain.paging_kib > self.free_kib:
            raise XenError("set_paging_pool", errno.ENOMEM)
        domain.paging_kib = kib

    def balloon(self, domid: Domid, target_kib: int) -> int:
        """A guest follows its target as far as its limit and the free memory allow; what it has then."""
        domain = self.domain("balloon", domid)
        ceiling = min(domain.max_memory_kib, domain.memory_kib + self.free_kib)
        domain.memory_kib = max(0, min(target_kib, ceiling) // KIB_PER_PAGE * KIB_PER_PAGE)
        return domain.memory_kib

    # Parts

    def alloc_unbound_port(self, domid: Domid, remote: Domid) -> int:
        domain = self.domain("alloc_unbound_port", domid)
        taken = domain.ports.keys() | domain.bound
        for port in range(1, MAX_PORT + 1):
            if port not in taken:
                domain.ports[port] = remote
                return port
        raise XenError("alloc_unbound_port", errno.ENOSPC)

    def bind_port(self, domid: Domid, port: int) -> bool:
        """dom0 binds a port that waits for it, or binds it anew."""
        domain = self.domains.get(domid)
        if domain is None or (domain.ports.get(port) != DOM0 and port not in domain.bound):
            return False
        domain.ports.pop(port, None)
        domain.bound.add(port)
        return True

    def set_hvm_param(self, domid: Domid, param: HvmParam, value: int) -> None:
        domain = self._hvm("set_hvm_param", domid, param)
        _check("set_hvm_param", refusals.of_param(param, domain.params.get(param, 0), value))
        domain.params[param] = value

    def get_hvm_param(self, domid: Domid, param: HvmParam) -> int:
        return self._hvm("get_hvm_param", domid, param).params.get(param, 0)

    def _hvm(self, call: str, domid: Domid, param: int) -> Domain:
        domain = self.domain(call, domid)
        if not domain.is_hvm or not 0 <= param < HVM_PARAMS:
            raise XenError(call, errno.EINVAL)
        return domain

    def apply_cpuid_policy(
        self, domid: Domid, overrides: Mapping[tuple[int, int | None], Sequence[str | None]]
    ) -> None:
        self.domain("apply_cpuid_policy", domid)
        _check("apply_cpuid_policy", refusals.of_cpuid(overrides))

    def set_affinity(self, domid: Domid, vcpu: int, pcpus: Sequence[int]) -> None:
        domain = self.domain("set_affinity", domid)
        if not 0 <= vcpu < domain.vcpus:
            raise XenError("set_affinity", errno.EINVAL)
        if not any(0 <= pcpu < self.cpus for pcpu in pcpus):
            raise XenError("set_affinity", errno.EINVAL)
        domain.affinity[vcpu] = frozenset(pcpus)

    def label_number(self, label: str) -> int:
        """This host enforces no policy, as Debian's."""
        raise XenError("label_number", errno.ENOSYS)

    def set_tsc_default(self, domid: Domid) -> None:
        self.domain("set_tsc_default", domid)

    def send_trigger(self, domid: Domid, trigger: int, vcpu: int = 0) -> None:
        domain = self.domain("send_trigger", domid)
        _check("send_trigger", refusals.of_trigger(trigger, vcpu, domain.vcpus, is_hvm=domain.is_hvm))
        if trigger == POWER_BUTTON:
            domain.button = replace(domain.button, is_pressed=True)

    def power_button(self, domid: Domid) -> PowerButton:
        domain = self.domain("power_button", domid)
        _check("power_button", refusals.of_button(domain.kind))
        return domain.button

    def set_power_button(self, domid: Domid, button: PowerButton) -> None:
        """The guest's own doing."""
        self.domain("set_power_button", domid).button = button

    # Parts of the machine

    def assign_device(self, domid: Domid, device: int) -> None:
        domain = self._with_iommu("assign_device", domid)
        if device in self.assigned:
            raise XenError("assign_device", errno.EBUSY)
        self.assigned[device] = domain.domid

    def deassign_device(self, domid: Domid, device: int) -> None:
        self._with_iommu("deassign_device", domid)
        if self.assigned.get(device) != domid:
            raise XenError("deassign_device", errno.EINVAL)
        del self.assigned[device]

    def _with_iommu(self, call: str, domid: Domid) -> Domain:
        domain = self.domain(call, domid)
        if not domain.has_iommu:
            raise XenError(call, errno.EOPNOTSUPP)
        return domain

    def allow(self, domid: Domid, kind: str, first: int, count: int, *, allow: bool) -> None:
        """Ports, frames or interrupts, each kind by itself."""
        domain, call = self.domain(f"allow_{kind}", domid), f"allow_{kind}"
        most = {"ports": PORTS, "interrupts": INTERRUPTS}.get(kind)
        if count < 1 or first < 0 or (most is not None and first + count > most):
            raise XenError(call, errno.EINVAL)
        change = ranges.joined if allow else ranges.cut
        domain.allowed[kind] = tuple(change(domain.allowed.get(kind, ()), first, first + count - 1))

    def map_interrupt(self, domid: Domid, irq: int) -> int:
        domain = self.domain("map_interrupt", domid)
        if not 0 < irq < INTERRUPTS:
            raise XenError("map_interrupt", errno.EINVAL)
        domain.interrupts.add(irq)
        return irq

    def unmap_interrupt(self, domid: Domid, pirq: int) -> None:
        domain = self.domain("unmap_interrupt", domid)
        if pirq not in domain.interrupts:
            raise XenError("unmap_interrupt", errno.EINVAL)
        domain.interrupts.discard(pirq)

    # Building

    def build(self, domid: Domid, image: ImageSpec, *, pv: bool) -> Rings:
        call = "build_pv" if pv else "build_pvh"
        domain = self.domain(call, domid)
        if domain.is_hvm is pv:
            raise XenError(call, errno.ENOEXEC)
        if domain.image is not None:
            raise XenError(call, errno.EINVAL)
        self._take_memory(call, domain, image.memory_kib)
        domain.image = image
        return self._lay_out(domain)

    def _lay_out(self, domain: Domain) -> Rings:
        image = domain.image
        assert image is not None
        if not domain.is_hvm:
            frame = 0x100000 + domain.domid * 0x10000  # machine frames: any numbers will do
            return Rings(store=frame + 1, console=frame + 2)
        return _lay_out_rings(domain, image.store_port, image.console_port)

    def build_hvm(self, domid: Domid, image: HvmImageSpec) -> HvmBuilt:
        call = "build_hvm"
        domain = self.domain(call, domid)
        if not domain.is_hvm:
            raise XenError(call, errno.ENOEXEC)
        if domain.image is not None or not 0 <= image.target_kib <= image.memory_kib:
            raise XenError(call, errno.EINVAL)
        self._take_memory(call, domain, image.target_kib or image.memory_kib)
        domain.image = image
        rings = _lay_out_rings(domain, image.store_port, image.console_port)
        acpi = TABLES_ADDRESS if image.acpi_table else 0
        smbios = TABLES_ADDRESS + len(image.acpi_table) if image.smbios else 0
        return HvmBuilt(rings, acpi, len(image.acpi_table), smbios, len(image.smbios))

    def _take_memory(self, call: str, domain: Domain, kib: int) -> None:
        """The guest's, and what the builder adds.  EINVAL beyond its limit, ENOMEM beyond the host's."""
        needed_kib = kib + (PVH_EXTRA_KIB if domain.is_hvm else 0)
        if kib <= 0 or needed_kib > domain.max_memory_kib:
            raise XenError(call, errno.EINVAL)
        if needed_kib > self.free_kib:
            raise XenError(call, errno.ENOMEM)
        domain.memory_kib = needed_kib


def _lay_out_rings(domain: Domain, store_port: int, console_port: int) -> Rings:
    rings = Rings(store=SPECIAL_PFN + 4, console=SPECIAL_PFN + 7)
    domain.params |= {
        HvmParam.STORE_PFN: rings.store,
        HvmParam.STORE_EVTCHN: store_port,
        HvmParam.CONSOLE_PFN: rings.console,
        HvmParam.CONSOLE_EVTCHN: console_port,
    }
    return rings


def _without_bytes(image: Mapping[str, Any]) -> dict[str, Any]:
    """Firmware tables are in the guest's memory by now."""
    return {key: value for key, value in image.items() if not isinstance(value, bytes)}


def _check(call: str, error: int) -> None:
    if error:
        raise XenError(call, error)
