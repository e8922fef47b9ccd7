# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the simulated hypervisor the contract tests cannot ask of a real one."""

import errno
from collections.abc import Callable

import pytest

from openxt_core.ids import DOM0, Domid, Uuid
from openxt_sim.machine import DOM0_KIB, FIRST_RESERVED_DOMID, OVERHEAD_KIB, PVH_EXTRA_KIB, Machine
from openxt_xen.hypervisor import DomainSpec, ImageSpec, Kind, ShutdownReason, XenError

UUID = Uuid("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
GIB = 1024 * 1024


def create(machine: Machine, kind: Kind = Kind.PVH) -> Domid:
    return machine.create_domain(DomainSpec(UUID, kind, 2))


def build(machine: Machine, domid: Domid, kib: int, *, pv: bool = False) -> None:
    machine.set_max_memory(domid, kib + PVH_EXTRA_KIB)
    machine.build(domid, ImageSpec("/kernel", kib, 1, 1, 2), pv=pv)


def fails(call: Callable[[], object]) -> int:
    with pytest.raises(XenError) as caught:
        call()
    return caught.value.errno


def test_memory_is_taken_by_a_build_and_given_back() -> None:
    machine = Machine(4 * GIB)
    free = machine.free_kib
    assert free == 4 * GIB - DOM0_KIB
    domid = create(machine)
    build(machine, domid, GIB)
    machine.set_paging_pool(domid, 8192)
    assert machine.free_kib == free - GIB - PVH_EXTRA_KIB - 8192 - OVERHEAD_KIB
    machine.destroy_domain(domid)
    assert machine.free_kib == free


def test_a_build_beyond_the_free_memory_is_enomem_and_takes_nothing() -> None:
    machine = Machine(2 * GIB)
    domid = create(machine)
    free = machine.free_kib
    assert fails(lambda: build(machine, domid, 2 * GIB)) == errno.ENOMEM
    assert machine.free_kib == free
    assert fails(lambda: machine.set_paging_pool(domid, 2 * GIB)) == errno.ENOMEM


def test_a_full_host_takes_no_domain() -> None:
    machine = Machine(DOM0_KIB)
    assert fails(lambda: create(machine)) == errno.ENOMEM


def test_domids_return_only_when_all_have_been_used() -> None:
    machine = Machine()
    kept = create(machine)
    machine._next_domid = FIRST_RESERVED_DOMID - 1
    assert create(machine) == FIRST_RESERVED_DOMID - 1
    assert create(machine) == kept + 1
    assert list(machine.domains) == sorted(machine.domains)


@pytest.mark.parametrize(("kind", "pv"), [(Kind.PV, False), (Kind.PVH, True)])
def test_a_domain_is_built_as_what_it_was_created_for(kind: Kind, pv: bool) -> None:
    machine = Machine()
    domid = create(machine, kind)
    assert fails(lambda: build(machine, domid, 4096, pv=pv)) == errno.ENOEXEC


def test_a_domain_is_built_once() -> None:
    machine = Machine()
    domid = create(machine)
    build(machine, domid, 4096)
    assert fails(lambda: build(machine, domid, 4096)) == errno.EINVAL


def test_ports_run_out() -> None:
    machine = Machine()
    domid = create(machine)
    ports = [machine.alloc_unbound_port(domid, DOM0) for _ in range(1023)]
    assert len(set(ports)) == 1023
    assert fails(lambda: machine.alloc_unbound_port(domid, DOM0)) == errno.ENOSPC


def test_only_the_named_domain_binds_a_port_and_it_stays_taken() -> None:
    machine = Machine()
    domid = create(machine)
    mine, other = machine.alloc_unbound_port(domid, DOM0), machine.alloc_unbound_port(domid, Domid(7))
    assert machine.bind_port(domid, mine)
    assert machine.bind_port(domid, mine)
    assert not machine.bind_port(domid, other)
    assert not machine.bind_port(Domid(99), mine)
    assert machine.alloc_unbound_port(domid, DOM0) not in (mine, other)


def test_domain_0_is_not_ours_to_end() -> None:
    machine = Machine()
    assert fails(lambda: machine.destroy_domain(DOM0)) == errno.EINVAL
    assert fails(lambda: machine.pause(DOM0)) == errno.EINVAL
    assert fails(lambda: machine.shutdown(DOM0, ShutdownReason.POWEROFF)) == errno.EPERM


def test_a_guest_balloons_within_its_limit_and_the_free_memory() -> None:
    machine = Machine(GIB)
    domid = create(machine)
    build(machine, domid, 64 * 1024)
    assert machine.balloon(domid, 32 * 1024 + 3) == 32 * 1024
    assert machine.balloon(domid, GIB) == 64 * 1024 + PVH_EXTRA_KIB
    machine.set_max_memory(domid, 4 * GIB)
    assert machine.balloon(domid, 4 * GIB) == GIB - DOM0_KIB - OVERHEAD_KIB
    assert machine.free_kib == 0


def test_a_number_that_no_vcpu_has_is_einval() -> None:
    machine = Machine()
    domid = create(machine, Kind.PV)
    assert fails(lambda: machine.send_trigger(domid, 0, vcpu=-1)) == errno.EINVAL
    assert fails(lambda: machine.send_trigger(domid, 0, vcpu=8192)) == errno.EINVAL


def test_only_a_built_pv_domain_is_resumed() -> None:
    machine = Machine()
    domid = create(machine, Kind.PV)
    machine.shutdown(domid, ShutdownReason.SUSPEND)
    assert fails(lambda: machine.resume(domid, fast=False)) == errno.EPERM
    build(machine, domid, 4096, pv=True)
    machine.resume(domid, fast=False)
    assert not machine.domains[domid].info().is_dead
