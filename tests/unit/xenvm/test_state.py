# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of a VM as a table."""

import pytest

from openxt_xenvm.errors import VmBadState
from openxt_xenvm.state import STARTABLE, TRANSITIONS, Event, VmState, may, next_state

S, E = VmState, Event


def walk(state: VmState, *events: Event) -> list[str]:
    seen = []
    for event in events:
        state = next_state(state, event)
        seen.append(str(state))
    return seen


def test_a_start_goes_through_every_word() -> None:
    words = walk(S.SHUTDOWN, E.STARTED, E.DOMAIN_BUILT, E.DEVICES_READY, E.UNPAUSED)
    assert words == ["creating-domain", "creating-devices", "created", "running"]


def test_a_halt_and_a_reboot_go_through_every_word() -> None:
    assert walk(S.RUNNING, E.SHUTDOWN_ACKNOWLEDGED, E.DESTROYED) == ["shutdowning", "shutdown"]
    words = walk(S.RUNNING, E.SHUTDOWN_ACKNOWLEDGED, E.ENDED_FOR_REBOOT, E.REBOOT_STOPPED)
    assert words == ["shutdowning", "rebooting", "rebooted"]


@pytest.mark.parametrize("state", list(VmState))
def test_destroy_is_possible_in_every_state(state: VmState) -> None:
    assert next_state(state, E.DESTROYED) is S.SHUTDOWN


@pytest.mark.parametrize("state", sorted(set(VmState) - set(STARTABLE) - {S.REBOOTING, S.RESTORING}))
def test_a_vm_with_a_domain_cannot_start(state: VmState) -> None:
    with pytest.raises(VmBadState, match=state):
        next_state(state, E.STARTED)


def test_a_move_that_is_not_in_the_table_is_refused() -> None:
    for state in VmState:
        for event in Event:
            assert may(state, event) == ((state, event) in TRANSITIONS)


def test_every_word_can_be_reached() -> None:
    reached = {S.SHUTDOWN}
    while more := {to for (at, _), to in TRANSITIONS.items() if at in reached} - reached:
        reached |= more
    assert set(VmState) == reached
