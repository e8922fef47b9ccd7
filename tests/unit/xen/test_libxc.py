# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be said of the libxc keeper without a hypervisor: why it does not open, and what records mean."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import Unavailable
from openxt_core.ids import parse_uuid
from openxt_xen.hypervisor import Hypervisor, Kind, ShutdownReason, XenError
from openxt_xen.libxc import LibXc
from openxt_xen.libxc_records import domain_info_of, handle_of, physinfo_of, shutdown_of, uuid_of

LIB = SimpleNamespace(
    XEN_DOMINF_dying=1,
    XEN_DOMINF_hvm_guest=2,
    XEN_DOMINF_shutdown=4,
    XEN_DOMINF_paused=8,
    XEN_DOMINF_shutdownshift=16,
    XEN_DOMINF_shutdownmask=255,
    XEN_INVALID_MAX_VCPU_ID=0xFFFF_FFFF,
    XEN_SYSCTL_PHYSCAP_hvm=1,
    XEN_SYSCTL_PHYSCAP_pv=2,
    XEN_SYSCTL_PHYSCAP_directio=4,
    XEN_SYSCTL_PHYSCAP_hap=8,
    XEN_SYSCTL_PHYSCAP_shadow=16,
)


def domain_record(**changed: object) -> SimpleNamespace:
    record = {
        "domain": 7,
        "handle": bytes(range(16)),
        "flags": 0,
        "tot_pages": 256,
        "max_pages": 512,
        "max_vcpu_id": 1,
        "cpu_time": 99,
    }
    return SimpleNamespace(**{**record, **changed})


def has_xen() -> bool:
    return Path("/dev/xen/privcmd").exists() or Path("/proc/xen/privcmd").exists()


def as_hypervisor(keeper: LibXc) -> Hypervisor:
    """Says to the type checker that LibXc keeps the whole protocol."""
    return keeper


def test_without_the_compiled_module_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_xenctrl_cffi", None)
    with pytest.raises(Unavailable, match="libxen-dev"):
        LibXc()


@pytest.mark.skipif(has_xen(), reason="there is a hypervisor here")
def test_without_xen_the_error_says_what_could_not_be_opened() -> None:
    pytest.importorskip("_xenctrl_cffi", reason="not compiled: native/xenctrl_cffi/build.py")
    with pytest.raises(XenError, match="privileged command interface") as caught:
        LibXc()
    assert caught.value.call == "xc_interface_open"
    assert os.strerror(caught.value.errno) in str(caught.value)


@given(handle=st.binary(min_size=16, max_size=16))
def test_a_uuid_survives_the_way_through_xen(handle: bytes) -> None:
    uuid = uuid_of(handle)
    assert parse_uuid(uuid) == uuid
    assert handle_of(uuid) == handle


def test_uuid_bytes_are_in_the_order_of_the_text() -> None:
    assert uuid_of(bytes(range(16))) == "00010203-0405-0607-0809-0a0b0c0d0e0f"


def test_a_record_counts_pages_and_vcpus_from_their_last_number() -> None:
    info = domain_info_of(LIB, domain_record(flags=2 | 8))
    assert (info.domid, info.memory_kib, info.max_memory_kib, info.vcpus) == (7, 1024, 2048, 2)
    assert (info.kind, info.paused, info.dying, info.shutdown) == (Kind.HVM, True, False, None)


def test_a_domain_without_vcpus_has_none() -> None:
    assert domain_info_of(LIB, domain_record(max_vcpu_id=0xFFFF_FFFF)).vcpus == 0


@pytest.mark.parametrize("reason", list(ShutdownReason))
def test_the_shutdown_reason_is_read_only_when_the_domain_is_shut_down(reason: ShutdownReason) -> None:
    assert shutdown_of(LIB, reason << 16) is None
    assert shutdown_of(LIB, reason << 16 | 4) is reason


@given(guest_reason=st.integers(0, 255))
def test_a_reason_without_a_name_is_a_crash(guest_reason: int) -> None:
    reason = shutdown_of(LIB, guest_reason << 16 | 4)
    assert reason == (guest_reason if guest_reason <= 5 else ShutdownReason.CRASH)


def test_free_memory_is_what_nobody_has_claimed() -> None:
    host = SimpleNamespace(
        nr_cpus=2, capabilities=2 | 4, total_pages=100, free_pages=50, scrub_pages=3, outstanding_pages=20
    )
    info = physinfo_of(LIB, host)
    assert (info.total_kib, info.free_kib, info.scrub_kib) == (400, 120, 12)
    assert (info.has_hvm, info.has_pv, info.has_directio, info.has_hap) == (False, True, True, False)
    host.outstanding_pages = 60
    assert physinfo_of(LIB, host).free_kib == 0
