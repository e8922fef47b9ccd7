# SPDX-License-Identifier: GPL-2.0-or-later
"""What every keeper of `Hypervisor` promises: the simulated host, and libxc on real Xen.

Each test leaves no domain behind.  On real Xen the kernels are those of the bed, or come from
OPENXT_TEST_KERNEL_PV and _PVH; the simulation takes any file.  Light on imports: these tests also run
inside the emulated dom0.
"""

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest
from hypervisor_bench import (
    ABSENT,
    KINDS,
    MEMORY_KIB,
    SLACK_KIB,
    UUID,
    build,
    errno_of,
    image,
    look,
    prepare,
)

from openxt_core.ids import DOM0, Domid
from openxt_xen.hypervisor import (
    HvmParam,
    Hypervisor,
    Kind,
    ShutdownReason,
    XenError,
)

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
    lambda keeper: keeper.power_button(ABSENT),
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
