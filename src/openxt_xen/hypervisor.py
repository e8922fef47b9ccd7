# SPDX-License-Identifier: GPL-2.0-or-later
"""What we ask of a hypervisor: blocking calls and the frozen types they use.

Two keepers: `libxc` (libxenctrl and libxenguest) and `simulated` (the simulated host's socket).
Both pass tests/contract/test_hypervisor.py.  Every call may block: run it in a worker thread.
Whatever fails raises `XenError` with errno, made in the thread that failed.
"""

import enum
import errno as errno_names
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from openxt_core.errors import Unavailable
from openxt_core.ids import Domid, Uuid


class XenError(Unavailable):
    """A hypercall or a builder call failed.  `errno` is Linux's number, 0 when unknown."""

    def __init__(self, call: str, errno: int, detail: str = "") -> None:
        name = errno_names.errorcode.get(errno, str(errno))
        reasons = [f"{name}: {os.strerror(errno)}"] if errno else []
        super().__init__(": ".join([call, *reasons, *([detail] if detail else [])]))
        self.call = call
        self.errno = errno


class Kind(enum.StrEnum):
    """Virtualisation type of a domain."""

    PV = "pv"
    PVH = "pvh"
    HVM = "hvm"


class ShutdownReason(enum.IntEnum):
    """Why a domain stopped.  Source: xen/include/public/sched.h (4.17)."""

    POWEROFF = 0
    REBOOT = 1
    SUSPEND = 2
    CRASH = 3
    WATCHDOG = 4
    SOFT_RESET = 5


POWER_BUTTON = 3
"""The trigger that presses it."""


class HvmParam(enum.IntEnum):
    """Source: xen/include/public/hvm/params.h (4.17).  32 (IOREQ_SERVER_PFN) is never ours to set."""

    CALLBACK_IRQ = 0
    STORE_PFN = 1
    STORE_EVTCHN = 2
    VIRIDIAN = 9
    TIMER_MODE = 10
    HPET_ENABLED = 11
    ACPI_S_STATE = 14
    VPT_ALIGN = 16
    CONSOLE_PFN = 17
    CONSOLE_EVTCHN = 18
    ALTP2M = 35


@dataclass(frozen=True, slots=True)
class Version:
    major: int
    minor: int
    extra: str
    capabilities: str


@dataclass(frozen=True, slots=True)
class PhysInfo:
    """Figures of the host; memory in KiB."""

    nr_cpus: int
    total_kib: int
    free_kib: int  # what new domains can have: free less outstanding claims
    scrub_kib: int
    has_hvm: bool
    has_pv: bool
    has_directio: bool
    has_hap: bool
    has_shadow: bool = False  # without it a PV domain is not saved live: nobody tells what it writes


@dataclass(frozen=True, slots=True)
class DomainInfo:
    domid: Domid
    uuid: Uuid
    kind: Kind  # PVH is reported as HVM: Xen's list does not tell them apart
    paused: bool
    dying: bool
    shutdown: ShutdownReason | None  # None: not shut down
    memory_kib: int
    max_memory_kib: int
    vcpus: int
    cpu_time_ns: int

    @property
    def is_dead(self) -> bool:
        return self.dying or self.shutdown is not None


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """What create_domain needs."""

    uuid: Uuid
    kind: Kind
    max_vcpus: int
    ssidref: int = 0
    hap: bool = True
    nested: bool = False
    iommu: bool = False


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What the PV and PVH builders need.  Paths are files of the calling host."""

    kernel: str
    memory_kib: int
    max_vcpus: int
    store_port: int
    console_port: int
    ramdisk: str = ""
    cmdline: str = ""
    features: str = ""
    acpi: bool = True  # PVH only: without tables Linux sees one vcpu and cannot power off


@dataclass(frozen=True, slots=True)
class HvmImageSpec:
    """What the HVM builder needs.  Paths are files of the calling host, tables are bytes."""

    loader: str  # hvmloader
    firmware: str  # the BIOS that it starts
    memory_kib: int  # the most it may ever have, without video memory
    target_kib: int  # what it has at first; the rest is populated on demand
    max_vcpus: int
    store_port: int
    console_port: int
    apic: bool = True
    acpi_table: bytes = b""
    smbios: bytes = b""


@dataclass(frozen=True, slots=True)
class Rings:
    """Frame numbers (gfn) of the shared pages that the builder laid out."""

    store: int
    console: int


@dataclass(frozen=True, slots=True)
class HvmBuilt:
    """Where things lie in a built HVM guest.  Addresses in bytes, 0 for tables that were not given."""

    rings: Rings
    acpi_address: int = 0
    acpi_length: int = 0
    smbios_address: int = 0
    smbios_length: int = 0


@dataclass(frozen=True, slots=True)
class PowerButton:
    """The ACPI power button of a full machine, as its guest has set it up."""

    is_heard: bool = False  # the guest wants to be told of a press
    is_pressed: bool = False  # and has not taken the last one yet


class SaveTalk(Protocol):
    """What `save` asks of its caller, from the thread that saves."""

    def suspend(self) -> bool:
        """Have the guest suspend.  True once Xen says that it has; False, or an exception, ends the save."""

    def log_dirty(self, enable: bool) -> None:
        """HVM, live: the device model shall (not) tell which pages it writes."""


class Hypervisor(Protocol):
    """Blocking calls.  Memory in KiB, times in ns.  Raises XenError."""

    def close(self) -> None: ...

    def version(self) -> Version: ...

    def physinfo(self) -> PhysInfo: ...

    def domains(self) -> Sequence[DomainInfo]:
        """All domains, ascending domid, dom0 included."""
        ...

    def info(self, domid: Domid) -> DomainInfo | None:
        """None when there is no such domain."""
        ...

    def create_domain(self, spec: DomainSpec) -> Domid:
        """A new, empty, paused domain with its vcpus.  EEXIST never: uuids need not be unique in Xen."""
        ...

    def destroy_domain(self, domid: Domid) -> None:
        """Returns when its memory is given back, or raises; ESRCH when there is no such domain."""
        ...

    def pause(self, domid: Domid) -> None: ...

    def unpause(self, domid: Domid) -> None: ...

    def shutdown(self, domid: Domid, reason: ShutdownReason) -> None:
        """Stop the domain at once, as if it had asked itself with `reason`."""
        ...

    def set_max_memory(self, domid: Domid, kib: int) -> None: ...

    def set_memory_map_limit(self, domid: Domid, kib: int) -> None:
        """PV only: what the guest's pseudo-physical map may hold."""
        ...

    def set_paging_pool(self, domid: Domid, kib: int) -> None:
        """HVM and PVH only: memory for the paging structures."""
        ...

    def alloc_unbound_port(self, domid: Domid, remote: Domid) -> int:
        """A new event channel in `domid` that `remote` may bind."""
        ...

    def set_hvm_param(self, domid: Domid, param: HvmParam, value: int) -> None: ...

    def get_hvm_param(self, domid: Domid, param: HvmParam) -> int: ...

    def apply_cpuid_policy(
        self,
        domid: Domid,
        overrides: Mapping[tuple[int, int | None], Sequence[str | None]],
        *,
        pae: bool = True,
        itsc: bool = False,
        nested: bool = False,
    ) -> None:
        """Default policy, then per (leaf, subleaf) four 32-character masks for eax, ebx, ecx, edx.

        `itsc` shows a clock that ticks alike on every host, for a guest that never moves."""
        ...

    def set_affinity(self, domid: Domid, vcpu: int, pcpus: Sequence[int]) -> None:
        """Let a vcpu run on these processors only.  Those that the host lacks are left out; EINVAL: all."""
        ...

    def label_number(self, label: str) -> int:
        """The number of a security label, for DomainSpec.  ENOSYS where Xen enforces no policy."""
        ...

    def set_tsc_default(self, domid: Domid) -> None: ...

    def build_pv(self, domid: Domid, image: ImageSpec) -> Rings: ...

    def build_pvh(self, domid: Domid, image: ImageSpec) -> Rings: ...

    def build_hvm(self, domid: Domid, image: HvmImageSpec) -> HvmBuilt: ...

    def set_target(self, domid: Domid, target: Domid) -> None:
        """Let a stub domain, `domid`, map and control the domain that it serves."""
        ...

    def send_trigger(self, domid: Domid, trigger: int, vcpu: int = 0) -> None:
        """0 nmi, 1 reset, 2 init, 3 power button, 4 sleep button."""
        ...

    def power_button(self, domid: Domid) -> PowerButton:
        """HVM only: PVH domains have none (ENOENT), PV neither (EINVAL)."""
        ...

    def resume(self, domid: Domid, *, fast: bool) -> None:
        """Go on after a suspend, in the same domain.  `fast`: the guest is told that it was not moved."""
        ...

    def save(self, domid: Domid, descriptor: int, talk: SaveTalk, *, live: bool) -> None:
        """Write memory and vcpus to an open file.  The domain stays suspended in the end.

        `live`: most of it is written while the guest still runs.  Takes long: in a thread of its own.
        """
        ...

    def restore(self, domid: Domid, descriptor: int, store_port: int, console_port: int) -> Rings:
        """Read what `save` wrote into a new, empty domain of the same kind, which is paused then."""
        ...

    def assign_device(self, domid: Domid, device: int) -> None:
        """Let a PCI device read and write a domain's memory.

        `device`: segment, bus, slot, function as 32 bits.  EOPNOTSUPP for a domain without the IOMMU flag.
        """
        ...

    def deassign_device(self, domid: Domid, device: int) -> None: ...

    def allow_ports(self, domid: Domid, first: int, count: int, *, allow: bool) -> None:
        """Whether a domain may use I/O ports."""
        ...

    def allow_frames(self, domid: Domid, first: int, count: int, *, allow: bool) -> None:
        """Whether a domain may map frames of the machine's device memory."""
        ...

    def map_interrupt(self, domid: Domid, irq: int) -> int:
        """Route an interrupt of the machine to a PV domain: its number there."""
        ...

    def unmap_interrupt(self, domid: Domid, pirq: int) -> None: ...

    def allow_interrupt(self, domid: Domid, pirq: int, *, allow: bool) -> None: ...

    def read_console_ring(self) -> str:
        """The hypervisor's own log."""
        ...
