# SPDX-License-Identifier: GPL-2.0-or-later
"""The hypervisor as it is: `Hypervisor` kept by libxenctrl and libxenguest of Xen 4.17.

Needs a dom0, root, and the compiled module `_xenctrl_cffi`, which only this file imports.
Calls may come from several threads at once; each blocks its own thread only, since cffi lets go of the
interpreter lock.  A forked child opens a handle of its own.
"""

import errno
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from openxt_core.errors import Unavailable
from openxt_core.ids import DOM0, Domid
from openxt_xen import libxc_migration as migration
from openxt_xen.hypervisor import (
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
    SaveTalk,
    ShutdownReason,
    Version,
    XenError,
)
from openxt_xen.libxc_calls import Calls
from openxt_xen.libxc_hvm import build_hvm
from openxt_xen.libxc_image import build_pv, build_pvh
from openxt_xen.libxc_records import KIB_PER_PAGE, domain_info_of, handle_of, physinfo_of

_PAGE_SIZE = 4096
_INFOS_PER_CALL = 1024
_CONSOLE_CHUNK = 16384

_MAX_EVENT_PORT = 1023  # libxl's default; 0 would leave the guest without any
_DEFAULT_LIMIT = -1  # the hypervisor's own
_ANY_SUBLEAF = 0xFFFF_FFFF
_BUTTON = 1 << 8  # in both event registers.  Source: ACPI specification, PM1 event grouping

_DEATH_TIMEOUT_S = 30.0
_LONGEST_PAUSE_S = 0.05


class LibXc:
    """Fulfils `Hypervisor`.  Source: xenctrl.h, xen/domctl.h, xen/sysctl.h (4.17)."""

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
        if not self._may_exist(domid):
            raise XenError(name, errno.ESRCH)
        return self._do(name, domid, *arguments)

    def _may_exist(self, domid: Domid) -> bool:
        return 0 <= domid < int(self._lib.DOMID_FIRST_RESERVED)

    # The host

    def version(self) -> Version:
        numbers = self._do("xc_version", self._lib.XENVER_version, self._ffi.NULL)
        return Version(
            major=numbers >> 16,
            minor=numbers & 0xFFFF,
            extra=self._version_text(self._lib.XENVER_extraversion),
            capabilities=self._version_text(self._lib.XENVER_capabilities),
        )

    def _version_text(self, command: int) -> str:
        # The longest text that Xen writes here (xen_capabilities_info_t) has 1024 bytes.
        text = self._ffi.new("char[1024]")
        self._do("xc_version", command, text)
        return str(self._ffi.string(text).decode(errors="replace")).strip()

    def physinfo(self) -> PhysInfo:
        host = self._ffi.new("xc_physinfo_t *")
        self._do("xc_physinfo", host)
        return physinfo_of(self._lib, host)

    def read_console_ring(self) -> str:
        index = self._ffi.new("uint32_t *", 0)
        return b"".join(self._console_chunks(index)).decode(errors="replace")

    def _console_chunks(self, index: Any) -> Iterator[bytes]:
        """Xen moves `index` on; with `incremental` set the next call goes on from there."""
        chunk = self._ffi.new("char[]", _CONSOLE_CHUNK)
        count = self._ffi.new("unsigned *")
        clear, incremental = 0, 1
        while True:
            count[0] = _CONSOLE_CHUNK
            self._do("xc_readconsolering", chunk, count, clear, incremental, index)
            yield bytes(self._ffi.buffer(chunk, count[0]))
            if count[0] < _CONSOLE_CHUNK:
                return

    # What domains there are

    def domains(self) -> Sequence[DomainInfo]:
        return list(self._infos())

    def _infos(self) -> Iterator[DomainInfo]:
        page = self._ffi.new("xc_domaininfo_t[]", _INFOS_PER_CALL)
        first = 0
        while True:
            count = self._do("xc_domain_getinfolist", first, _INFOS_PER_CALL, page)
            yield from (domain_info_of(self._lib, page[number]) for number in range(count))
            if count < _INFOS_PER_CALL:
                return
            first = page[count - 1].domain + 1

    def info(self, domid: Domid) -> DomainInfo | None:
        if not self._may_exist(domid):
            return None
        found = self._ffi.new("xc_domaininfo_t *")
        count = self._on(domid, "xc_domain_getinfolist", 1, found)
        # Xen answers with the next one when there is no such domain.
        return domain_info_of(self._lib, found) if count == 1 and found.domain == domid else None

    # Life and death

    def create_domain(self, spec: DomainSpec) -> Domid:
        config = self._ffi.new("struct xen_domctl_createdomain *")
        self._ffi.memmove(config.handle, handle_of(spec.uuid), len(config.handle))
        config.ssidref = spec.ssidref
        config.flags = self._creation_flags(spec)
        config.max_vcpus = spec.max_vcpus
        config.max_evtchn_port = _MAX_EVENT_PORT
        config.max_grant_frames = config.max_maptrack_frames = _DEFAULT_LIMIT
        config.grant_opts = self._grant_version()
        config.arch.emulation_flags = self._emulation_flags(spec.kind)
        domid = self._ffi.new("uint32_t *", self._lib.DOMID_INVALID)  # Xen chooses a free number
        self._do("xc_domain_create", domid, config)
        self._create_vcpus(Domid(domid[0]), spec.max_vcpus)
        return Domid(domid[0])

    def _create_vcpus(self, domid: Domid, count: int) -> None:
        try:
            self._on(domid, "xc_domain_max_vcpus", count)
        except XenError:
            self.destroy_domain(domid)
            raise

    def _creation_flags(self, spec: DomainSpec) -> int:
        wanted = (
            (spec.kind is not Kind.PV, self._lib.XEN_DOMCTL_CDF_hvm),
            (spec.kind is not Kind.PV and spec.hap, self._lib.XEN_DOMCTL_CDF_hap),
            (spec.nested, self._lib.XEN_DOMCTL_CDF_nested_virt),
            (spec.iommu, self._lib.XEN_DOMCTL_CDF_iommu),
        )
        return sum(flag for is_wanted, flag in wanted if is_wanted)

    def _emulation_flags(self, kind: Kind) -> int:
        lib = self._lib
        all_but_vpci = lib.XEN_X86_EMU_ALL & ~lib.XEN_X86_EMU_VPCI
        return int({Kind.PV: 0, Kind.PVH: lib.XEN_X86_EMU_LAPIC, Kind.HVM: all_but_vpci}[kind])

    def _grant_version(self) -> int:
        """The newest grant table that the host offers; 0 would mean none at all."""
        host = self._ffi.new("xc_physinfo_t *")
        self._do("xc_physinfo", host)
        return 2 if host.capabilities & self._lib.XEN_SYSCTL_PHYSCAP_gnttab_v2 else 1

    def destroy_domain(self, domid: Domid) -> None:
        self._on(domid, "xc_domain_destroy")
        self._wait_until_gone(domid)

    def _wait_until_gone(self, domid: Domid) -> None:
        """Xen frees the memory before the call returns, but for pages that somebody still maps: mostly the
        rings, which xenstored and xenconsoled let go when they hear of the death.  Nobody tells us when."""
        give_up_at = time.monotonic() + _DEATH_TIMEOUT_S
        pause_s = 0.001
        while (left := self.info(domid)) is not None and left.dying:
            if time.monotonic() > give_up_at:
                detail = f"another domain or program still maps {left.memory_kib} KiB of domain {domid}"
                raise XenError("xc_domain_destroy", errno.EBUSY, detail)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def pause(self, domid: Domid) -> None:
        self._on(domid, "xc_domain_pause")

    def unpause(self, domid: Domid) -> None:
        self._on(domid, "xc_domain_unpause")

    def shutdown(self, domid: Domid, reason: ShutdownReason) -> None:
        if domid == DOM0:  # Xen would obey: the host reboots
            raise XenError("xc_domain_shutdown", errno.EPERM, "dom0 itself")
        self._on(domid, "xc_domain_shutdown", reason)

    def resume(self, domid: Domid, *, fast: bool) -> None:
        self._on(domid, "xc_domain_resume", fast)

    def save(self, domid: Domid, descriptor: int, talk: SaveTalk, *, live: bool) -> None:
        self._require("xc_domain_save", domid)
        migration.save(self._calls, domid, descriptor, talk, live=live)

    def restore(self, domid: Domid, descriptor: int, store_port: int, console_port: int) -> Rings:
        self._require("xc_domain_restore", domid)
        return migration.restore(self._calls, domid, descriptor, store_port, console_port)

    def send_trigger(self, domid: Domid, trigger: int, vcpu: int = 0) -> None:
        self._on(domid, "xc_domain_send_trigger", trigger, vcpu)

    def power_button(self, domid: Domid) -> PowerButton:
        """Xen keeps the event registers itself; a device model never sees them."""
        events = self._ffi.new("struct hvm_hw_pmtimer *")
        self._on(domid, "openxt_acpi_events", events)
        return PowerButton(bool(events.pm1a_en & _BUTTON), bool(events.pm1a_sts & _BUTTON))

    # Setting one up

    def set_target(self, domid: Domid, target: Domid) -> None:
        self._on(domid, "xc_domain_set_target", target)

    def set_max_memory(self, domid: Domid, kib: int) -> None:
        self._on(domid, "xc_domain_setmaxmem", kib)

    def set_memory_map_limit(self, domid: Domid, kib: int) -> None:
        self._on(domid, "xc_domain_set_memmap_limit", kib)

    def set_paging_pool(self, domid: Domid, kib: int) -> None:
        # Xen takes whole pages only.
        self._on(domid, "xc_set_paging_mempool_size", -(-kib // KIB_PER_PAGE) * _PAGE_SIZE)

    def alloc_unbound_port(self, domid: Domid, remote: Domid) -> int:
        return self._on(domid, "xc_evtchn_alloc_unbound", remote)

    def set_hvm_param(self, domid: Domid, param: HvmParam, value: int) -> None:
        self._on(domid, "xc_hvm_param_set", param, value)

    def get_hvm_param(self, domid: Domid, param: HvmParam) -> int:
        value = self._ffi.new("uint64_t *")
        self._on(domid, "xc_hvm_param_get", param, value)
        return int(value[0])

    def set_tsc_default(self, domid: Domid) -> None:
        mode, elapsed_ns, khz, incarnation = 0, 0, 0, 0
        self._on(domid, "xc_domain_set_tsc_info", mode, elapsed_ns, khz, incarnation)

    def apply_cpuid_policy(
        self,
        domid: Domid,
        overrides: Mapping[tuple[int, int | None], Sequence[str | None]],
        *,
        pae: bool = True,
        itsc: bool = False,
        nested: bool = False,
    ) -> None:
        restore, featureset, no_features = False, self._ffi.NULL, 0
        leaves, masks = self._cpuid_leaves(overrides)
        self._on(
            domid, "xc_cpuid_apply_policy", restore, featureset, no_features, pae, itsc, nested,
            leaves, self._ffi.NULL,
        )  # fmt: skip
        del masks  # `leaves` points into them: they had to live until here

    def _cpuid_leaves(
        self, overrides: Mapping[tuple[int, int | None], Sequence[str | None]]
    ) -> tuple[Any, list[Any]]:
        """An array that ends with an unused leaf, and the C strings that it points to."""
        leaves = self._ffi.new("struct xc_xend_cpuid[]", len(overrides) + 1)
        masks: list[Any] = []
        for leaf, ((number, subleaf), registers) in zip(leaves, overrides.items(), strict=False):
            if len(registers) != len(leaf.policy):
                raise XenError("xc_cpuid_apply_policy", errno.EINVAL, f"leaf {number:#x}: not four masks")
            leaf.leaf = number
            leaf.subleaf = _ANY_SUBLEAF if subleaf is None else subleaf
            for register, mask in enumerate(registers):
                if mask is not None:
                    masks.append(self._ffi.new("char[]", mask.encode()))
                    leaf.policy[register] = masks[-1]
        leaves[len(overrides)].leaf = self._lib.XEN_CPUID_INPUT_UNUSED
        return leaves, masks

    def set_affinity(self, domid: Domid, vcpu: int, pcpus: Sequence[int]) -> None:
        self._on(domid, "openxt_set_affinity", vcpu, self._ffi.new("uint32_t[]", pcpus), len(pcpus))

    def label_number(self, label: str) -> int:
        text = self._ffi.new("char[]", label.encode())  # a copy: the library may write to it
        number = self._ffi.new("uint32_t *")
        self._do("xc_flask_context_to_sid", text, len(text) - 1, number)
        return int(number[0])

    # Parts of the machine

    def assign_device(self, domid: Domid, device: int) -> None:
        flags = 0
        self._on(domid, "xc_assign_device", device, flags)

    def deassign_device(self, domid: Domid, device: int) -> None:
        self._on(domid, "xc_deassign_device", device)

    def allow_ports(self, domid: Domid, first: int, count: int, *, allow: bool) -> None:
        self._on(domid, "xc_domain_ioport_permission", first, count, allow)

    def allow_frames(self, domid: Domid, first: int, count: int, *, allow: bool) -> None:
        self._on(domid, "xc_domain_iomem_permission", first, count, allow)

    def map_interrupt(self, domid: Domid, irq: int) -> int:
        pirq = self._ffi.new("int *", irq)  # the number it shall have, and has then
        self._on(domid, "xc_physdev_map_pirq", irq, pirq)
        return int(pirq[0])

    def unmap_interrupt(self, domid: Domid, pirq: int) -> None:
        self._on(domid, "xc_physdev_unmap_pirq", pirq)

    def allow_interrupt(self, domid: Domid, pirq: int, *, allow: bool) -> None:
        self._on(domid, "xc_domain_irq_permission", pirq, allow)

    # Filling one

    def build_pv(self, domid: Domid, image: ImageSpec) -> Rings:
        self._require("xc_dom_boot_xen_init", domid)
        return build_pv(self._calls, domid, image)

    def build_pvh(self, domid: Domid, image: ImageSpec) -> Rings:
        self._require("xc_dom_boot_xen_init", domid)
        return build_pvh(self._calls, domid, image)

    def build_hvm(self, domid: Domid, image: HvmImageSpec) -> HvmBuilt:
        self._require("xc_dom_boot_xen_init", domid)
        return build_hvm(self._calls, domid, image)

    def _require(self, call: str, domid: Domid) -> None:
        """The builder itself would fail late, and for another reason."""
        if self.info(domid) is None:
            raise XenError(call, errno.ESRCH)


def native_module() -> Any:
    """Imported late: everything but the real hypervisor works without it."""
    try:
        import _xenctrl_cffi
    except ImportError as missing:
        raise Unavailable(
            f"the real hypervisor needs _xenctrl_cffi ({missing}): install the Debian package libxen-dev, "
            "then run native/xenctrl_cffi/build.py"
        ) from missing
    return _xenctrl_cffi
