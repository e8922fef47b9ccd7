# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory and the building of domains, as every hypervisor promises them: the simulated one and Xen 4.17."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypervisor_bench import (
    EXTRA_KIB,
    HVM_KIB,
    KINDS,
    MEMORY_KIB,
    SLACK_KIB,
    VGA_HOLE_KIB,
    build,
    errno_of,
    image,
    look,
    prepare,
)

from openxt_core.ids import DOM0, Domid
from openxt_xen.hypervisor import (
    HvmImageSpec,
    HvmParam,
    Hypervisor,
    ImageSpec,
    Kind,
    XenError,
)

# Memory


def test_the_memory_limit_is_seen(hypervisor: Hypervisor, create: Callable[..., Domid]) -> None:
    domid = create()
    hypervisor.set_max_memory(domid, MEMORY_KIB)
    assert look(hypervisor, domid).max_memory_kib == MEMORY_KIB


def test_the_memory_limit_is_counted_in_whole_pages(
    hypervisor: Hypervisor, create: Callable[..., Domid]
) -> None:
    domid = create()
    hypervisor.set_max_memory(domid, MEMORY_KIB + 3)
    assert look(hypervisor, domid).max_memory_kib == MEMORY_KIB
    assert errno_of(lambda: hypervisor.set_max_memory(domid, -4)) == errno.EINVAL


@KINDS
def test_a_built_domain_has_its_memory_and_the_host_has_less(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid], kind: Kind
) -> None:
    before = hypervisor.physinfo()
    domid = create(kind)
    prepare(hypervisor, domid, kind)
    build(hypervisor, domid, kind, image(hypervisor, environ, domid, kind))
    info = look(hypervisor, domid)
    assert info.paused
    assert not info.is_dead
    assert info.memory_kib == MEMORY_KIB + EXTRA_KIB[kind]
    assert hypervisor.physinfo().free_kib <= before.free_kib - MEMORY_KIB + SLACK_KIB
    hypervisor.destroy_domain(domid)
    after = hypervisor.physinfo()
    assert after.free_kib + after.scrub_kib >= before.free_kib - SLACK_KIB
    assert after.total_kib == before.total_kib


@KINDS
@pytest.mark.parametrize("max_kib", [0, MEMORY_KIB // 2])
def test_a_build_beyond_the_memory_limit_is_einval(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid], kind: Kind, max_kib: int
) -> None:
    domid = create(kind)
    prepare(hypervisor, domid, kind, max_kib)
    spec = image(hypervisor, environ, domid, kind)
    assert errno_of(lambda: build(hypervisor, domid, kind, spec)) == errno.EINVAL


@pytest.mark.parametrize(("kind", "error"), [(Kind.PV, 0), (Kind.PVH, errno.EINVAL)])
def test_a_pvh_build_needs_more_than_the_guests_memory(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid], kind: Kind, error: int
) -> None:
    domid = create(kind)
    prepare(hypervisor, domid, kind, max_kib=MEMORY_KIB)
    spec = image(hypervisor, environ, domid, kind)
    assert errno_of(lambda: build(hypervisor, domid, kind, spec)) == error


@KINDS
def test_a_build_beyond_the_hosts_memory_is_enomem_and_takes_nothing(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid], kind: Kind
) -> None:
    domid = create(kind)
    too_much_kib = hypervisor.physinfo().total_kib // 1024 * 1024
    prepare(hypervisor, domid, kind, max_kib=too_much_kib + SLACK_KIB)
    spec = replace(image(hypervisor, environ, domid, kind), memory_kib=too_much_kib)
    assert errno_of(lambda: build(hypervisor, domid, kind, spec)) == errno.ENOMEM
    assert look(hypervisor, domid).memory_kib == 0


@KINDS
def test_a_build_without_memory_is_einval(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid], kind: Kind
) -> None:
    domid = create(kind)
    prepare(hypervisor, domid, kind)
    spec = replace(image(hypervisor, environ, domid, kind), memory_kib=0)
    assert errno_of(lambda: build(hypervisor, domid, kind, spec)) == errno.EINVAL


def test_a_pv_domain_has_no_paging_pool(hypervisor: Hypervisor, create: Callable[..., Domid]) -> None:
    with pytest.raises(XenError) as caught:
        hypervisor.set_paging_pool(create(Kind.PV), 1024)
    assert caught.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize("kib", [0, 1 << 33])
def test_a_paging_pool_has_some_memory_but_no_more_than_the_host(
    hypervisor: Hypervisor, create: Callable[..., Domid], kib: int
) -> None:
    domid = create(Kind.PVH)
    hypervisor.set_paging_pool(domid, 2048)
    assert errno_of(lambda: hypervisor.set_paging_pool(domid, kib)) == errno.ENOMEM


# Building


@KINDS
@pytest.mark.parametrize("kernel", ["/no/such/kernel", ""])
def test_a_missing_kernel_is_enoent(
    hypervisor: Hypervisor, create: Callable[..., Domid], kind: Kind, kernel: str
) -> None:
    domid = create(kind)
    prepare(hypervisor, domid, kind)
    spec = ImageSpec(kernel, MEMORY_KIB, 1, 1, 2)
    assert errno_of(lambda: build(hypervisor, domid, kind, spec)) == errno.ENOENT


@KINDS
def test_a_missing_ramdisk_is_enoent(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid], kind: Kind
) -> None:
    domid = create(kind)
    prepare(hypervisor, domid, kind)
    spec = replace(image(hypervisor, environ, domid, kind), ramdisk="/no/such/ramdisk")
    assert errno_of(lambda: build(hypervisor, domid, kind, spec)) == errno.ENOENT


@KINDS
@pytest.mark.parametrize("content", ["#!/bin/sh\n", ""])
def test_a_script_or_an_empty_file_is_no_kernel(
    hypervisor: Hypervisor, create: Callable[..., Domid], tmp_path: Path, kind: Kind, content: str
) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_text(content)
    domid = create(kind)
    prepare(hypervisor, domid, kind)
    spec = ImageSpec(str(kernel), MEMORY_KIB, 1, 1, 2)
    assert errno_of(lambda: build(hypervisor, domid, kind, spec)) == errno.ENOEXEC
    assert look(hypervisor, domid).memory_kib == 0


@KINDS
def test_an_empty_file_is_no_ramdisk(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid], tmp_path: Path, kind: Kind
) -> None:
    ramdisk = tmp_path / "ramdisk"
    ramdisk.touch()
    domid = create(kind)
    prepare(hypervisor, domid, kind)
    spec = replace(image(hypervisor, environ, domid, kind), ramdisk=str(ramdisk))
    assert errno_of(lambda: build(hypervisor, domid, kind, spec)) == errno.EINVAL


@KINDS
def test_a_domain_is_built_once(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid], kind: Kind
) -> None:
    domid = create(kind)
    prepare(hypervisor, domid, kind)
    spec = image(hypervisor, environ, domid, kind)
    assert errno_of(lambda: build(hypervisor, domid, kind, spec)) == 0
    assert errno_of(lambda: build(hypervisor, domid, kind, spec)) == errno.EINVAL


@KINDS
def test_the_rings_of_a_built_domain_are_two_frames(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid], kind: Kind
) -> None:
    domid = create(kind)
    prepare(hypervisor, domid, kind)
    rings = build(hypervisor, domid, kind, image(hypervisor, environ, domid, kind))
    assert 0 < rings.store != rings.console > 0


def test_a_built_pvh_domain_finds_its_rings_in_its_params(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid]
) -> None:
    domid = create(Kind.PVH)
    prepare(hypervisor, domid, Kind.PVH)
    spec = image(hypervisor, environ, domid, Kind.PVH)
    rings = build(hypervisor, domid, Kind.PVH, spec)
    expected = {
        HvmParam.STORE_PFN: rings.store,
        HvmParam.STORE_EVTCHN: spec.store_port,
        HvmParam.CONSOLE_PFN: rings.console,
        HvmParam.CONSOLE_EVTCHN: spec.console_port,
    }
    assert {param: hypervisor.get_hvm_param(domid, param) for param in expected} == expected


# HVM


def firmware(environ: dict[str, str]) -> tuple[str, str]:
    """hvmloader and a BIOS."""
    kernel = environ.get("OPENXT_TEST_KERNEL_PVH", "")
    if kernel:
        return kernel, kernel
    loaders = sorted(Path("/usr/lib").glob("xen-*/boot/hvmloader"))
    bios = Path("/usr/share/seabios/bios-256k.bin")
    if not loaders or not bios.exists():
        pytest.skip("no hvmloader, or no BIOS")
    return str(loaders[-1]), str(bios)


def hvm_image(hypervisor: Hypervisor, environ: dict[str, str], domid: Domid) -> HvmImageSpec:
    loader, bios = firmware(environ)
    ports = [hypervisor.alloc_unbound_port(domid, DOM0) for _ in range(2)]
    return HvmImageSpec(loader, bios, HVM_KIB, HVM_KIB, 2, *ports)


@pytest.fixture
def hvm(hypervisor: Hypervisor, create: Callable[..., Domid]) -> Domid:
    """An HVM domain that can be built."""
    domid = create(Kind.HVM, 2)
    hypervisor.set_max_memory(domid, HVM_KIB + SLACK_KIB)
    hypervisor.set_tsc_default(domid)
    hypervisor.set_paging_pool(domid, 4096)
    hypervisor.apply_cpuid_policy(domid, {})
    return domid


def test_a_built_hvm_domain_has_its_memory_and_its_rings(
    hypervisor: Hypervisor, environ: dict[str, str], hvm: Domid
) -> None:
    spec = hvm_image(hypervisor, environ, hvm)
    built = hypervisor.build_hvm(hvm, spec)
    found = look(hypervisor, hvm).memory_kib - HVM_KIB
    assert -VGA_HOLE_KIB <= found <= SLACK_KIB
    params = {
        HvmParam.STORE_PFN: built.rings.store,
        HvmParam.STORE_EVTCHN: spec.store_port,
        HvmParam.CONSOLE_PFN: built.rings.console,
        HvmParam.CONSOLE_EVTCHN: spec.console_port,
    }
    assert {param: hypervisor.get_hvm_param(hvm, param) for param in params} == params
    assert built.acpi_address == built.smbios_address == 0


def test_tables_given_to_an_hvm_domain_are_in_its_memory(
    hypervisor: Hypervisor, environ: dict[str, str], hvm: Domid
) -> None:
    spec = replace(
        hvm_image(hypervisor, environ, hvm), acpi_table=b"SLIC" * 16, smbios=b"\x04\0\0\0\x7f\4\0\0"
    )
    built = hypervisor.build_hvm(hvm, spec)
    assert (built.acpi_length, built.smbios_length) == (64, 8)
    assert 0 < built.acpi_address != built.smbios_address > 0
    assert max(built.acpi_address, built.smbios_address) < HVM_KIB * 1024


def test_an_hvm_domain_may_begin_with_less_than_its_most(
    hypervisor: Hypervisor, environ: dict[str, str], hvm: Domid
) -> None:
    spec = replace(hvm_image(hypervisor, environ, hvm), target_kib=HVM_KIB // 2)
    hypervisor.build_hvm(hvm, spec)
    assert HVM_KIB // 2 - VGA_HOLE_KIB <= look(hypervisor, hvm).memory_kib <= HVM_KIB // 2 + SLACK_KIB


def test_an_hvm_build_without_its_bios_is_enoent(
    hypervisor: Hypervisor, environ: dict[str, str], hvm: Domid
) -> None:
    spec = replace(hvm_image(hypervisor, environ, hvm), firmware="/no/such/bios")
    assert errno_of(lambda: hypervisor.build_hvm(hvm, spec)) == errno.ENOENT
    assert look(hypervisor, hvm).memory_kib == 0


@pytest.mark.parametrize("max_kib", [0, 4 * 1024])
def test_an_hvm_build_beyond_the_memory_limit_is_einval(
    hypervisor: Hypervisor, environ: dict[str, str], hvm: Domid, max_kib: int
) -> None:
    hypervisor.set_max_memory(hvm, max_kib)
    spec = hvm_image(hypervisor, environ, hvm)
    assert errno_of(lambda: hypervisor.build_hvm(hvm, spec)) == errno.EINVAL


def test_a_domain_without_hvm_takes_no_bios(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid]
) -> None:
    domid = create(Kind.PV)
    hypervisor.set_max_memory(domid, HVM_KIB + SLACK_KIB)
    spec = hvm_image(hypervisor, environ, domid)
    assert errno_of(lambda: hypervisor.build_hvm(domid, spec)) != 0


VIRIDIAN = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 6


@pytest.mark.parametrize(
    ("param", "value", "error"),
    [
        (HvmParam.VIRIDIAN, VIRIDIAN, 0),
        (HvmParam.VIRIDIAN, 0, errno.EINVAL),
        (HvmParam.VIRIDIAN, 1 << 40, errno.EINVAL),
        (HvmParam.TIMER_MODE, 3, 0),
        (HvmParam.TIMER_MODE, 4, errno.EINVAL),
        (HvmParam.HPET_ENABLED, 1, 0),
        (HvmParam.VPT_ALIGN, 1, 0),
    ],
)
def test_an_hvm_domains_switches_take_known_values(
    hypervisor: Hypervisor, hvm: Domid, param: HvmParam, value: int, error: int
) -> None:
    assert errno_of(lambda: hypervisor.set_hvm_param(hvm, param, value)) == error


@KINDS
@pytest.mark.parametrize(
    ("vcpu", "pcpus", "error"),
    [
        (0, (0,), 0),
        (0, (0, 1, 63), 0),
        (0, (4000,), errno.EINVAL),
        (0, (), errno.EINVAL),
        (7, (0,), errno.EINVAL),
        (-1, (0,), errno.EINVAL),
    ],
)
def test_a_vcpu_is_bound_to_processors_that_are_there(
    hypervisor: Hypervisor,
    create: Callable[..., Domid],
    kind: Kind,
    vcpu: int,
    pcpus: tuple[int, ...],
    error: int,
) -> None:
    assert errno_of(lambda: hypervisor.set_affinity(create(kind), vcpu, pcpus)) == error


def test_a_host_without_a_policy_knows_no_labels(hypervisor: Hypervisor) -> None:
    """Debian's Xen has none loaded."""
    assert errno_of(lambda: hypervisor.label_number("system_u:system_r:hvm_guest_t")) in (
        errno.ENOSYS,
        errno.EOPNOTSUPP,
    )
