# SPDX-License-Identifier: GPL-2.0-or-later
"""What every keeper of `Operator` promises: the simulated host, and libxc on real Xen."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

from openxt_core.ids import DOM0, Domid, Uuid
from openxt_xen.hypervisor import DomainSpec, Hypervisor, Kind, XenError
from openxt_xen.open import open_hypervisor
from openxt_xen.operator import Operator, Scheduling, open_operator

UUID = Uuid("6ba7b810-9dad-41d1-80b4-00c04fd430c9")
ABSENT = Domid(31999)


@pytest.fixture(scope="module", params=["simulated", pytest.param("libxc", marks=pytest.mark.xen)])
def environ(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    if request.param == "libxc":
        yield os.environ | {"OPENXT_HYPERVISOR": "libxc"}
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "openxt_sim", "--dir", folder]
        with subprocess.Popen(
            command, env=os.environ | {"OPENXT_ROOT": folder}, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield os.environ | {"OPENXT_HYPERVISOR": f"simulated:{folder}/hypercalls"}
            process.terminate()


@pytest.fixture(scope="module")
def operator(environ: dict[str, str]) -> Iterator[Operator]:
    keeper = open_operator(environ)
    yield keeper
    keeper.close()


@pytest.fixture(scope="module")
def hypervisor(environ: dict[str, str]) -> Iterator[Hypervisor]:
    keeper = open_hypervisor(environ)
    yield keeper
    keeper.close()


@pytest.fixture
def domid(hypervisor: Hypervisor) -> Iterator[Domid]:
    """An empty, paused domain with two vcpus."""
    domid = hypervisor.create_domain(DomainSpec(UUID, Kind.PV, max_vcpus=2))
    yield domid
    hypervisor.destroy_domain(domid)


def failure(call: Callable[[], object]) -> int:
    with pytest.raises(XenError) as caught:
        call()
    return caught.value.errno


def test_the_list_of_domains_tells_the_same_as_the_other_list(
    operator: Operator, hypervisor: Hypervisor, domid: Domid
) -> None:
    details = {detail.info.domid: detail for detail in operator.details()}
    assert list(details) == [info.domid for info in hypervisor.domains()]
    assert details[DOM0].running or details[DOM0].blocked
    assert details[DOM0].online_vcpus >= 1
    one = details[domid]
    assert (one.info.uuid, one.info.paused, one.max_vcpu_id) == (UUID, True, 1)


def test_the_processors_have_figures(operator: Operator, hypervisor: Hypervisor) -> None:
    facts = operator.cpu_facts()
    assert min(facts.threads_per_core, facts.cores_per_socket, facts.khz) >= 1
    times = operator.idle_times()
    assert len(times) == hypervisor.physinfo().nr_cpus
    assert all(time >= 0 for time in times)


def test_a_domain_keeps_the_share_that_it_is_given(operator: Operator, domid: Domid) -> None:
    assert operator.scheduling(domid) == Scheduling(256, 0)
    operator.set_scheduling(domid, Scheduling(512, 50))
    assert operator.scheduling(domid) == Scheduling(512, 50)


@pytest.mark.parametrize("wanted", [Scheduling(70_000, 0), Scheduling(256, -1)])
def test_shares_out_of_range_are_refused(operator: Operator, domid: Domid, wanted: Scheduling) -> None:
    assert failure(lambda: operator.set_scheduling(domid, wanted)) == errno.EINVAL


def test_a_vcpu_runs_where_it_is_told_to(operator: Operator, hypervisor: Hypervisor, domid: Domid) -> None:
    every = frozenset(range(len(operator.idle_times())))
    assert operator.affinity(domid, 1) == every
    hypervisor.set_affinity(domid, 1, [0])
    assert operator.affinity(domid, 1) == {0}
    assert operator.affinity(domid, 0) == every


def test_a_vcpu_that_is_not_there_is_an_error(operator: Operator, domid: Domid) -> None:
    assert failure(lambda: operator.affinity(domid, 7)) in (errno.EINVAL, errno.ESRCH)


@pytest.mark.parametrize(
    "call",
    [
        lambda operator: operator.scheduling(ABSENT),
        lambda operator: operator.affinity(ABSENT, 0),
    ],
)
def test_a_domain_that_is_not_there_is_an_error(
    operator: Operator, call: Callable[[Operator], object]
) -> None:
    assert failure(lambda: call(operator)) in (errno.ESRCH, errno.EINVAL)


def test_debug_keys_are_answered_in_the_log(operator: Operator, hypervisor: Hypervisor) -> None:
    before = hypervisor.read_console_ring().count("'h' pressed")
    operator.send_debug_keys("h")
    assert hypervisor.read_console_ring().count("'h' pressed") == before + 1


def test_a_watchdog_is_set_and_ended_again(operator: Operator) -> None:
    slot = operator.watchdog(0, 3600)
    assert slot >= 1
    operator.watchdog(slot, 3600)
    operator.watchdog(slot, 0)
    assert failure(lambda: operator.watchdog(99, 10)) == errno.EINVAL


def test_there_is_no_security_policy_to_enforce(operator: Operator) -> None:
    assert failure(operator.enforcing) == errno.ENOSYS
    assert failure(lambda: operator.set_enforcing(True)) == errno.ENOSYS
