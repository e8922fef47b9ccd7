# SPDX-License-Identifier: GPL-2.0-or-later
"""What a new monitor decides about what the last one left."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.ids import Domid, Uuid
from openxt_xen.hypervisor import DomainInfo, Kind, ShutdownReason
from openxt_xenvm.adoption import Course, Decision, decide
from openxt_xenvm.record import START_AGAIN, Operation, Record
from openxt_xenvm.state import Event, VmState

UUID = Uuid("00000000-0000-0000-0000-000000000001")
DOMID = Domid(7)
LIVING = DomainInfo(
    DOMID, UUID, Kind.PV, paused=False, dying=False, shutdown=None,
    memory_kib=1, max_memory_kib=1, vcpus=1, cpu_time_ns=0,
)  # fmt: skip
PAUSED = replace(LIVING, paused=True)
ENDED = replace(LIVING, paused=True, shutdown=ShutdownReason.POWEROFF)
DYING = replace(LIVING, dying=True)
RUNNING = Record(UUID, 1, "", VmState.RUNNING, DOMID)
HALT, REBOOT = Operation("halt"), Operation("reboot", auto_start=True)
START = Operation("start")


def left(state: VmState, operation: Operation | None = None, domid: Domid | None = DOMID) -> Record:
    return replace(RUNNING, state=state, operation=operation, domid=domid)


@pytest.mark.parametrize(
    ("domains", "record", "decision"),
    [
        ([], None, Decision(Course.NOTHING)),
        ([LIVING], None, Decision(Course.ADOPT, (DOMID,), Event.FOUND_RUNNING)),
        ([PAUSED], None, Decision(Course.ADOPT, (DOMID,), Event.FOUND_PAUSED)),
        ([ENDED], RUNNING, Decision(Course.ADOPT, (DOMID,), Event.FOUND_RUNNING)),
        ([PAUSED], left(VmState.CREATED), Decision(Course.ADOPT, (DOMID,), Event.FOUND_CREATED)),
        ([], left(VmState.SUSPENDED, domid=None), Decision(Course.CLEAN_UP, found=Event.FOUND_SUSPENDED)),
        ([], RUNNING, Decision(Course.CLEAN_UP, (DOMID,))),
        ([DYING], RUNNING, Decision(Course.CLEAN_UP, (DOMID,))),
        ([LIVING], left(VmState.CREATING_DOMAIN, START), Decision(Course.CLEAN_UP, (DOMID,))),
        ([LIVING], left(VmState.SHUTDOWN, START, None), Decision(Course.CLEAN_UP, (DOMID,))),
        (
            [PAUSED],
            left(VmState.CREATED, START),
            Decision(Course.ADOPT, (DOMID,), Event.FOUND_CREATED, Operation("unpause")),
        ),
        (
            [PAUSED],
            left(VmState.CREATED, Operation("start", paused=True)),
            Decision(Course.ADOPT, (DOMID,), Event.FOUND_CREATED),
        ),
        ([LIVING], left(VmState.RUNNING, Operation("destroy")), Decision(Course.CLEAN_UP, (DOMID,))),
        (
            [LIVING],
            left(VmState.RUNNING, HALT),
            Decision(Course.ADOPT, (DOMID,), Event.FOUND_RUNNING, HALT),
        ),
        (
            [LIVING],
            left(VmState.SHUTTING_DOWN, HALT),
            Decision(Course.ADOPT, (DOMID,), Event.FOUND_ENDING, HALT),
        ),
        (
            [],
            left(VmState.SHUTTING_DOWN, REBOOT),
            Decision(Course.ADOPT, (DOMID,), Event.FOUND_ENDING, REBOOT),
        ),
        ([], left(VmState.REBOOTING, REBOOT, None), Decision(Course.CLEAN_UP, then=START_AGAIN)),
        (
            [],
            left(VmState.REBOOTING, Operation("reboot"), None),
            Decision(Course.CLEAN_UP, found=Event.FOUND_REBOOTED),
        ),
        (
            [],
            left(VmState.REBOOTED, Operation("died", fate="rebooted", action="restart"), None),
            Decision(Course.CLEAN_UP, then=START_AGAIN),
        ),
        (
            [],
            left(VmState.RUNNING, Operation("died", fate="rebooted", action="preserve"), None),
            Decision(Course.CLEAN_UP, found=Event.FOUND_REBOOTED),
        ),
    ],
)
def test_what_is_decided(domains: list[DomainInfo], record: Record | None, decision: Decision) -> None:
    assert decide(domains, record) == decision


OPERATIONS = st.builds(
    Operation, st.sampled_from(["start", "halt", "reboot", "destroy", "died"]), st.booleans(), st.booleans()
)
RECORDS = st.builds(
    Record,
    st.just(UUID),
    st.just(1),
    st.just(""),
    st.sampled_from(VmState),
    st.sampled_from([None, DOMID]),
    st.just((Domid(0),)),
    st.none() | OPERATIONS,
)


@given(st.lists(st.sampled_from([LIVING, PAUSED, ENDED, DYING]), max_size=2), st.none() | RECORDS)
def test_a_living_domain_is_never_passed_over(domains: list[DomainInfo], record: Record | None) -> None:
    decision = decide(domains, record)
    assert (decision.course is Course.NOTHING) == (not domains and record is None)
    if domains:
        assert DOMID in decision.domids
