# SPDX-License-Identifier: GPL-2.0-or-later
"""What every keeper of `Hypervisor` promises: the simulated host, and libxc on real Xen.

Each test leaves no domain behind.  On real Xen the kernels are those of the bed, or come from
OPENXT_TEST_KERNEL_PV and _PVH; the simulation takes any file.  Light on imports: these tests also run
inside the emulated dom0.
"""

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest

from openxt_core.ids import DOM0, Domid, Uuid
from openxt_xen.hypervisor import (
    DomainInfo,
    DomainSpec,
    HvmImageSpec,
    HvmParam,
    Hypervisor,
    ImageSpec,
    Kind,
    Rings,
    ShutdownReason,
    XenError,
)
from openxt_xen.open import open_hypervisor

UUID = Uuid("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
ABSENT = Domid(31999)
UNKNOWN = -1
MEMORY_KIB = 8 * 1024
SLACK_KIB = 1024
HVM_KIB = 16 * 1024
VGA_HOLE_KIB = 128
EXTRA_KIB = {Kind.PV: 0, Kind.PVH: 40}  # what the builder adds to the guest's memory
KINDS = pytest.mark.parametrize("kind", [Kind.PV, Kind.PVH])


@contextlib.contextmanager
def simulated_host() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        kernel = Path(folder) / "kernel"
        kernel.write_text("any file will do")
        environ = {
            "OPENXT_ROOT": folder,
            "OPENXT_HYPERVISOR": f"simulated:{folder}/hypercalls",
            "OPENXT_TEST_KERNEL_PV": str(kernel),
            "OPENXT_TEST_KERNEL_PVH": str(kernel),
        }
        command = [sys.executable, "-m", "openxt_sim", "--dir", folder, "--memory-mib", "1024"]
        with subprocess.Popen(command, env=os.environ | environ, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield environ
            process.terminate()


@pytest.fixture(scope="module", params=["simulated", pytest.param("libxc", marks=pytest.mark.xen)])
def environ(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    if request.param == "libxc":
        yield os.environ | {"OPENXT_HYPERVISOR": "libxc"}
    else:
        with simulated_host() as variables:
            yield variables


@pytest.fixture(scope="module")
def opened(environ: dict[str, str]) -> Iterator[Hypervisor]:
    keeper = open_hypervisor(environ)
    yield keeper
    keeper.close()


@pytest.fixture
def hypervisor(opened: Hypervisor) -> Iterator[Hypervisor]:
    """A test ends as it began: with the same domains.  What it left is destroyed, and is a failure."""
    before = {info.domid for info in opened.domains()}
    yield opened
    left = {info.domid for info in opened.domains()} - before
    for domid in left:
        with contextlib.suppress(XenError):
            opened.destroy_domain(domid)
    assert not left


@pytest.fixture
def create(hypervisor: Hypervisor) -> Iterator[Callable[..., Domid]]:
    """Domains that end with the test."""
    created: list[Domid] = []

    def make(kind: Kind = Kind.PVH, max_vcpus: int = 1) -> Domid:
        created.append(hypervisor.create_domain(DomainSpec(UUID, kind, max_vcpus)))
        return created[-1]

    yield make
    for domid in created:
        if hypervisor.info(domid) is not None:
            hypervisor.destroy_domain(domid)


def errno_of(call: Callable[[], object]) -> int:
    """0 when the call succeeds, UNKNOWN when it fails without saying why."""
    try:
        call()
    except XenError as error:
        return error.errno or UNKNOWN
    return 0


def look(hypervisor: Hypervisor, domid: Domid) -> DomainInfo:
    info = hypervisor.info(domid)
    assert info is not None
    return info


def image(hypervisor: Hypervisor, environ: dict[str, str], domid: Domid, kind: Kind) -> ImageSpec:
    guests = environ.get("OPENXT_GUESTS", "/guest")
    kernel = environ.get(f"OPENXT_TEST_KERNEL_{kind.upper()}", f"{guests}/tiny-{kind}")
    if not Path(kernel).exists():
        pytest.skip(f"no test kernel {kernel}")
    return ImageSpec(
        kernel=kernel,
        memory_kib=MEMORY_KIB,
        max_vcpus=1,
        store_port=hypervisor.alloc_unbound_port(domid, DOM0),
        console_port=hypervisor.alloc_unbound_port(domid, DOM0),
        cmdline="contract",
    )


def prepare(hypervisor: Hypervisor, domid: Domid, kind: Kind, max_kib: int = MEMORY_KIB + SLACK_KIB) -> None:
    """What is asked of Xen between creation and build, in the order that libxl asks."""
    hypervisor.set_max_memory(domid, max_kib)
    if kind is Kind.PV:
        hypervisor.set_memory_map_limit(domid, MEMORY_KIB)
    hypervisor.set_tsc_default(domid)
    if kind is Kind.PVH:
        hypervisor.set_paging_pool(domid, 2048)
    hypervisor.apply_cpuid_policy(domid, {})


def build(hypervisor: Hypervisor, domid: Domid, kind: Kind, spec: ImageSpec) -> Rings:
    return (hypervisor.build_pv if kind is Kind.PV else hypervisor.build_pvh)(domid, spec)


# Life


@KINDS
def test_a_new_domain_is_paused_and_as_asked_for(
    hypervisor: Hypervisor, create: Callable[..., Domid], kind: Kind
) -> None:
    info = look(hypervisor, create(kind, 2))
    assert info.paused
    assert not info.is_dead
    assert (info.uuid, info.vcpus) == (UUID, 2)
    assert info.kind is (Kind.PV if kind is Kind.PV else Kind.HVM)


def test_the_domains_are_listed_in_order_from_domain_0(
    hypervisor: Hypervisor, create: Callable[..., Domid]
) -> None:
    made = [create(), create()]
    domids = [info.domid for info in hypervisor.domains()]
    assert domids == sorted(domids)
    assert domids[0] == DOM0
    assert set(made) < set(domids)


def test_a_domid_is_not_used_again_at_once(hypervisor: Hypervisor, create: Callable[..., Domid]) -> None:
    first = create()
    hypervisor.destroy_domain(first)
    assert create() != first


def test_an_unknown_domain_has_no_info(hypervisor: Hypervisor) -> None:
    assert hypervisor.info(ABSENT) is None


def test_a_destroyed_domain_is_unknown(hypervisor: Hypervisor, create: Callable[..., Domid]) -> None:
    domid = create()
    hypervisor.destroy_domain(domid)
    assert hypervisor.info(domid) is None
    with pytest.raises(XenError) as caught:
        hypervisor.destroy_domain(domid)
    assert caught.value.errno == errno.ESRCH


ON_A_DOMAIN: list[Callable[[Hypervisor], object]] = [
    lambda keeper: keeper.destroy_domain(ABSENT),
    lambda keeper: keeper.pause(ABSENT),
    lambda keeper: keeper.unpause(ABSENT),
    lambda keeper: keeper.shutdown(ABSENT, ShutdownReason.POWEROFF),
    lambda keeper: keeper.set_max_memory(ABSENT, 4096),
    lambda keeper: keeper.alloc_unbound_port(ABSENT, DOM0),
    lambda keeper: keeper.get_hvm_param(ABSENT, HvmParam.STORE_PFN),
    lambda keeper: keeper.set_hvm_param(ABSENT, HvmParam.TIMER_MODE, 1),
    lambda keeper: keeper.set_tsc_default(ABSENT),
    lambda keeper: keeper.send_trigger(ABSENT, 0),
    lambda keeper: keeper.assign_device(ABSENT, 0x80),
    lambda keeper: keeper.deassign_device(ABSENT, 0x80),
    lambda keeper: keeper.allow_ports(ABSENT, 0x3F8, 8, allow=True),
    lambda keeper: keeper.allow_frames(ABSENT, 0xFED00, 1, allow=True),
    lambda keeper: keeper.map_interrupt(ABSENT, 11),
    lambda keeper: keeper.allow_interrupt(ABSENT, 11, allow=True),
    lambda keeper: keeper.set_target(ABSENT, DOM0),
    lambda keeper: keeper.unmap_interrupt(ABSENT, 11),
    lambda keeper: keeper.save(ABSENT, 0, Talk(keeper, ABSENT), live=False),
    lambda keeper: keeper.restore(ABSENT, 0, 1, 2),
]


@pytest.mark.parametrize("call", ON_A_DOMAIN)
def test_a_call_on_an_unknown_domain_is_esrch(
    hypervisor: Hypervisor, call: Callable[[Hypervisor], object]
) -> None:
    with pytest.raises(XenError) as caught:
        call(hypervisor)
    assert caught.value.errno == errno.ESRCH


def test_each_pause_needs_its_own_unpause(hypervisor: Hypervisor, create: Callable[..., Domid]) -> None:
    domid = create()
    hypervisor.pause(domid)
    hypervisor.unpause(domid)
    assert look(hypervisor, domid).paused
    hypervisor.unpause(domid)
    assert not look(hypervisor, domid).paused
    hypervisor.pause(domid)
    assert look(hypervisor, domid).paused


def test_what_is_not_paused_cannot_be_unpaused(hypervisor: Hypervisor, create: Callable[..., Domid]) -> None:
    domid = create()
    hypervisor.unpause(domid)
    with pytest.raises(XenError) as caught:
        hypervisor.unpause(domid)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    "reason", [ShutdownReason.POWEROFF, ShutdownReason.REBOOT, ShutdownReason.SUSPEND, ShutdownReason.CRASH]
)
def test_the_reason_of_a_shutdown_is_seen_and_stays(
    hypervisor: Hypervisor, create: Callable[..., Domid], reason: ShutdownReason
) -> None:
    domid = create()
    hypervisor.shutdown(domid, reason)
    info = look(hypervisor, domid)
    assert info.shutdown is reason
    assert info.is_dead
    hypervisor.shutdown(domid, ShutdownReason.WATCHDOG)
    assert look(hypervisor, domid).shutdown is reason


def test_only_a_suspended_domain_is_resumed_fast(
    hypervisor: Hypervisor, create: Callable[..., Domid]
) -> None:
    domid = create()
    with pytest.raises(XenError) as caught:
        hypervisor.resume(domid, fast=True)
    assert caught.value.errno == errno.EINVAL


def test_pauses_are_counted_up_to_255(hypervisor: Hypervisor, create: Callable[..., Domid]) -> None:
    domid = create()
    assert [errno_of(lambda: hypervisor.pause(domid)) for _ in range(254)] == [0] * 254
    assert errno_of(lambda: hypervisor.pause(domid)) == errno.EOVERFLOW


@pytest.mark.parametrize(("fast", "error"), [(True, errno.ENODATA), (False, errno.EPERM)])
def test_an_empty_pv_domain_cannot_be_resumed(
    hypervisor: Hypervisor, create: Callable[..., Domid], fast: bool, error: int
) -> None:
    domid = create(Kind.PV)
    hypervisor.shutdown(domid, ShutdownReason.SUSPEND)
    assert errno_of(lambda: hypervisor.resume(domid, fast=fast)) == error
    assert look(hypervisor, domid).shutdown is ShutdownReason.SUSPEND


@pytest.mark.parametrize("fast", [True, False])
def test_a_resumed_domain_may_stop_again_for_another_reason(
    hypervisor: Hypervisor, create: Callable[..., Domid], fast: bool
) -> None:
    domid = create(Kind.PVH)
    hypervisor.shutdown(domid, ShutdownReason.SUSPEND)
    hypervisor.resume(domid, fast=fast)
    assert not look(hypervisor, domid).is_dead
    hypervisor.shutdown(domid, ShutdownReason.REBOOT)
    assert look(hypervisor, domid).shutdown is ShutdownReason.REBOOT


# Saving and restoring


@dataclass
class Talk:
    """Stops the domain by force, as an HVM domain without drivers of its own has to be."""

    hypervisor: Hypervisor
    domid: Domid
    answer: bool = True
    failure: Exception | None = None

    def suspend(self) -> bool:
        if self.failure is not None:
            raise self.failure
        if self.answer:
            self.hypervisor.shutdown(self.domid, ShutdownReason.SUSPEND)
        return self.answer

    def log_dirty(self, enable: bool) -> None:
        """There is no device model."""


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[BinaryIO]:
    with (tmp_path / "stream").open("w+b") as file:
        yield file


def built(hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid]) -> Domid:
    domid = create(Kind.PVH)
    prepare(hypervisor, domid, Kind.PVH)
    build(hypervisor, domid, Kind.PVH, image(hypervisor, environ, domid, Kind.PVH))
    return domid


@pytest.mark.parametrize("live", [False, True])
def test_a_saved_domain_is_restored_with_its_memory_and_rings(
    hypervisor: Hypervisor,
    environ: dict[str, str],
    create: Callable[..., Domid],
    stream: BinaryIO,
    live: bool,
) -> None:
    first = built(hypervisor, environ, create)
    hypervisor.save(first, stream.fileno(), Talk(hypervisor, first), live=live)
    assert look(hypervisor, first).shutdown is ShutdownReason.SUSPEND
    store = hypervisor.get_hvm_param(first, HvmParam.STORE_PFN)
    second = create(Kind.PVH)
    hypervisor.set_max_memory(second, MEMORY_KIB + SLACK_KIB)
    hypervisor.set_paging_pool(second, 2048)
    ports = [hypervisor.alloc_unbound_port(second, DOM0) for _ in range(2)]
    stream.seek(0)
    rings = hypervisor.restore(second, stream.fileno(), *ports)
    info = look(hypervisor, second)
    assert info.paused
    assert not info.is_dead
    assert info.memory_kib == look(hypervisor, first).memory_kib
    assert rings.store == store == hypervisor.get_hvm_param(second, HvmParam.STORE_PFN)
    assert hypervisor.get_hvm_param(second, HvmParam.STORE_EVTCHN) == ports[0]


def test_a_guest_that_does_not_suspend_is_not_saved(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid], stream: BinaryIO
) -> None:
    domid = built(hypervisor, environ, create)
    with pytest.raises(XenError):
        hypervisor.save(domid, stream.fileno(), Talk(hypervisor, domid, answer=False), live=False)
    assert not look(hypervisor, domid).is_dead


def test_what_the_callers_part_raises_comes_through(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid], stream: BinaryIO
) -> None:
    domid = built(hypervisor, environ, create)
    talk = Talk(hypervisor, domid, failure=TimeoutError("too slow"))
    with pytest.raises(TimeoutError, match="too slow"):
        hypervisor.save(domid, stream.fileno(), talk, live=False)


def test_a_save_to_a_full_disk_fails(
    hypervisor: Hypervisor, environ: dict[str, str], create: Callable[..., Domid]
) -> None:
    domid = built(hypervisor, environ, create)
    with Path("/dev/full").open("wb", buffering=0) as full:
        call = partial(hypervisor.save, domid, full.fileno(), Talk(hypervisor, domid), live=False)
        assert errno_of(call) == errno.ENOSPC


@pytest.mark.parametrize("content", [b"", b"no such stream at all", bytes(64)])
def test_what_is_no_stream_is_not_restored(
    hypervisor: Hypervisor, create: Callable[..., Domid], stream: BinaryIO, content: bytes
) -> None:
    domid = create(Kind.PVH)
    stream.write(content)
    stream.seek(0)
    assert errno_of(partial(hypervisor.restore, domid, stream.fileno(), 1, 2)) != 0


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


# Parts


def test_event_ports_of_a_domain_are_distinct(hypervisor: Hypervisor, create: Callable[..., Domid]) -> None:
    domid = create()
    ports = [hypervisor.alloc_unbound_port(domid, DOM0) for _ in range(4)]
    assert len(set(ports)) == 4
    assert min(ports) > 0


def test_an_hvm_param_is_read_as_it_was_set(hypervisor: Hypervisor, create: Callable[..., Domid]) -> None:
    domid = create(Kind.PVH)
    assert hypervisor.get_hvm_param(domid, HvmParam.CALLBACK_IRQ) == 0
    hypervisor.set_hvm_param(domid, HvmParam.TIMER_MODE, 1)
    assert hypervisor.get_hvm_param(domid, HvmParam.TIMER_MODE) == 1


def test_a_pv_domain_has_no_hvm_params(hypervisor: Hypervisor, create: Callable[..., Domid]) -> None:
    domid = create(Kind.PV)
    with pytest.raises(XenError) as caught:
        hypervisor.set_hvm_param(domid, HvmParam.TIMER_MODE, 1)
    assert caught.value.errno == errno.EINVAL


def test_the_second_view_of_memory_is_chosen_once(
    hypervisor: Hypervisor, create: Callable[..., Domid]
) -> None:
    domid = create(Kind.PVH)
    for value in (0, 1, 1):
        hypervisor.set_hvm_param(domid, HvmParam.ALTP2M, value)
    assert errno_of(lambda: hypervisor.set_hvm_param(domid, HvmParam.ALTP2M, 0)) == errno.EEXIST


@pytest.mark.parametrize(("state", "error"), [(0, 0), (1, errno.EINVAL), (5, errno.EINVAL)])
def test_a_domain_is_awake_or_asleep_and_nothing_else(
    hypervisor: Hypervisor, create: Callable[..., Domid], state: int, error: int
) -> None:
    domid = create(Kind.PVH)
    assert errno_of(lambda: hypervisor.set_hvm_param(domid, HvmParam.ACPI_S_STATE, state)) == error


TRIGGERS = [
    # trigger, vcpu, errno for PV, for PVH
    (0, 0, 0, 0),
    (1, 0, errno.ENOSYS, errno.ENOSYS),
    (2, 0, errno.ENOSYS, errno.ENOSYS),
    (3, 0, errno.EINVAL, 0),
    (4, 0, errno.EINVAL, 0),
    (5, 0, errno.ENOSYS, errno.ENOSYS),
    (0, 1, errno.ESRCH, errno.ESRCH),
    (5, 1, errno.ESRCH, errno.ESRCH),
    (0, -1, errno.EINVAL, errno.EINVAL),
]


@pytest.mark.parametrize(("trigger", "vcpu", "pv", "pvh"), TRIGGERS)
def test_a_trigger_is_known_and_meets_a_vcpu(
    hypervisor: Hypervisor, create: Callable[..., Domid], trigger: int, vcpu: int, pv: int, pvh: int
) -> None:
    for kind, error in ((Kind.PV, pv), (Kind.PVH, pvh)):
        domid = create(kind)
        assert errno_of(lambda: hypervisor.send_trigger(domid, trigger, vcpu)) == error  # noqa: B023


ANY = "x" * 32
CPUID = [
    # leaf, subleaf, masks, errno
    (1, None, (ANY, None, "x" * 31 + "k", None), 0),
    (7, 0, (ANY, None, None, None), 0),
    (0xD, 1, (ANY, None, None, None), 0),
    (0x80000001, None, (None, None, None, ANY), 0),
    (1, 0, (ANY, None, None, None), errno.EINVAL),  # a leaf without subleaves
    (7, None, (ANY, None, None, None), errno.EINVAL),  # one with them
    (0x77777777, None, (ANY, None, None, None), errno.EINVAL),
    (1, None, ("x", None, None, None), errno.EINVAL),
    (1, None, ("y" * 32, None, None, None), errno.EINVAL),
    (1, None, (ANY, None, None), errno.EINVAL),
]


@KINDS
@pytest.mark.parametrize(("leaf", "subleaf", "masks", "error"), CPUID)
def test_a_cpuid_override_is_for_a_known_leaf_and_has_four_masks(
    hypervisor: Hypervisor,
    create: Callable[..., Domid],
    kind: Kind,
    leaf: int,
    subleaf: int | None,
    masks: tuple[str | None, ...],
    error: int,
) -> None:
    domid = create(kind)
    assert errno_of(lambda: hypervisor.apply_cpuid_policy(domid, {(leaf, subleaf): masks})) == error


IMPOSSIBLE = [
    (DomainSpec(UUID, Kind.PVH, 0), errno.EINVAL),
    (DomainSpec(UUID, Kind.PVH, 129), errno.EINVAL),
    (DomainSpec(UUID, Kind.PV, 100_000), errno.EINVAL),
    (DomainSpec(UUID, Kind.PV, 1, nested=True), errno.EINVAL),
    (DomainSpec(UUID, Kind.PVH, 1, nested=True, hap=False), errno.EINVAL),
]


@pytest.mark.parametrize(("spec", "error"), IMPOSSIBLE)
def test_an_impossible_domain_is_refused(hypervisor: Hypervisor, spec: DomainSpec, error: int) -> None:
    assert errno_of(lambda: hypervisor.create_domain(spec)) == error


def test_a_host_without_an_iommu_gives_none(hypervisor: Hypervisor) -> None:
    if hypervisor.physinfo().has_directio:
        pytest.skip("this host has an IOMMU")
    for kind in (Kind.PV, Kind.PVH):
        spec = DomainSpec(UUID, kind, 1, iommu=True)
        assert errno_of(lambda: hypervisor.create_domain(spec)) == errno.EINVAL  # noqa: B023


def test_there_is_no_pvh_domain_without_hap(hypervisor: Hypervisor) -> None:
    """Debian builds Xen without shadow paging."""
    spec = DomainSpec(UUID, Kind.PVH, 1, hap=False)
    assert errno_of(lambda: hypervisor.create_domain(spec)) == errno.EOPNOTSUPP


# The host


def test_the_host_tells_what_it_is(hypervisor: Hypervisor) -> None:
    version, physinfo = hypervisor.version(), hypervisor.physinfo()
    assert (version.major, version.minor) >= (4, 17)
    assert "xen-3.0-x86_64" in version.capabilities
    assert physinfo.nr_cpus >= 1
    assert 0 < physinfo.free_kib < physinfo.total_kib


def test_the_hypervisor_has_a_log(hypervisor: Hypervisor) -> None:
    assert "(XEN)" in hypervisor.read_console_ring()


def test_a_closed_keeper_is_ebadf(environ: dict[str, str]) -> None:
    keeper = open_hypervisor(environ)
    keeper.close()
    keeper.close()
    assert errno_of(keeper.domains) == errno.EBADF


# Parts of the machine


def test_a_domain_may_have_ports_and_frames_and_lose_them_again(
    hypervisor: Hypervisor, create: Callable[[Kind], Domid]
) -> None:
    domid = create(Kind.PV)
    for allow in (True, True, False, False):
        hypervisor.allow_ports(domid, 0x378, 8, allow=allow)
        hypervisor.allow_frames(domid, 0xFED00, 2, allow=allow)
    assert errno_of(lambda: hypervisor.allow_ports(domid, 0xFFFF, 2, allow=True)) == errno.EINVAL
    assert errno_of(lambda: hypervisor.allow_frames(domid, 0xFED00, 0, allow=True)) == errno.EINVAL


def test_a_domain_may_have_an_interrupt_of_dom0_and_lose_it_again(
    hypervisor: Hypervisor, create: Callable[[Kind], Domid]
) -> None:
    domid = create(Kind.PV)
    for allow in (True, True, False, False):
        hypervisor.allow_interrupt(domid, interrupt_of_dom0(), allow=allow)
    assert errno_of(lambda: hypervisor.allow_interrupt(domid, 1 << 20, allow=True)) == errno.EINVAL


def interrupt_of_dom0() -> int:
    """The simulated dom0 has any."""
    lines = [line.split() for line in Path("/proc/interrupts").read_text().splitlines()]
    numbers = [words[0].removesuffix(":") for words in lines if "xen-pirq" in words]
    return int(numbers[0]) if numbers else 9


def test_a_domain_serves_one_target_which_is_no_pv_domain(
    hypervisor: Hypervisor, create: Callable[[Kind], Domid]
) -> None:
    stubdom, target, pv = create(Kind.PV), create(Kind.PVH), create(Kind.PV)
    assert errno_of(lambda: hypervisor.set_target(stubdom, ABSENT)) == errno.ESRCH
    assert errno_of(lambda: hypervisor.set_target(stubdom, stubdom)) == errno.EINVAL
    assert errno_of(lambda: hypervisor.set_target(stubdom, pv)) == errno.EOPNOTSUPP
    hypervisor.set_target(stubdom, target)
    assert errno_of(lambda: hypervisor.set_target(stubdom, target)) == errno.EINVAL
    hypervisor.destroy_domain(stubdom)  # first: it holds its target


def test_without_an_iommu_no_device_is_assigned(
    hypervisor: Hypervisor, create: Callable[[Kind], Domid]
) -> None:
    assert not hypervisor.physinfo().has_directio
    domid = create(Kind.PV)
    assert errno_of(lambda: hypervisor.assign_device(domid, 0x80)) == errno.EOPNOTSUPP
    assert errno_of(lambda: hypervisor.deassign_device(domid, 0x80)) == errno.EOPNOTSUPP
