# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts of domains and of the host, as every hypervisor promises them: the simulated one and Xen 4.17."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from hypervisor_bench import (
    ABSENT,
    KINDS,
    UUID,
    errno_of,
)

from openxt_core.ids import DOM0, Domid
from openxt_xen.hypervisor import (
    POWER_BUTTON,
    DomainSpec,
    HvmParam,
    Hypervisor,
    Kind,
    PowerButton,
    XenError,
)
from openxt_xen.open import open_hypervisor

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


def test_the_power_button_of_a_full_machine_stays_pressed_until_its_guest_takes_it(
    hypervisor: Hypervisor, create: Callable[..., Domid]
) -> None:
    domid = create(Kind.HVM)
    assert hypervisor.power_button(domid) == PowerButton(is_heard=False, is_pressed=False)
    hypervisor.send_trigger(domid, POWER_BUTTON)
    assert hypervisor.power_button(domid) == PowerButton(is_heard=False, is_pressed=True)


@pytest.mark.parametrize(("kind", "error"), [(Kind.PV, errno.EINVAL), (Kind.PVH, errno.ENOENT)])
def test_other_domains_have_no_power_button(
    hypervisor: Hypervisor, create: Callable[..., Domid], kind: Kind, error: int
) -> None:
    domid = create(kind)
    assert errno_of(lambda: hypervisor.power_button(domid)) == error


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
    wanted = DomainSpec(UUID, Kind.PV, 1, iommu=True)
    assert errno_of(lambda: hypervisor.create_domain(wanted)) == errno.EINVAL
