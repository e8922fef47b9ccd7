# SPDX-License-Identifier: GPL-2.0-or-later
"""States, slots, device names, dependencies, reasons against a start: small pure decisions."""

import pytest

from openxt_core.errors import BadRequest, NetworkDomainNotRunning, NoSuchDevice, TooManyVms
from openxt_core.ids import DOM0_UUID, Uuid
from openxt_xenmgr.vm.dependencies import dependencies_of
from openxt_xenmgr.vm.events import (
    ClockChanged,
    PowerChanged,
    ShutdownReason,
    StateChanged,
    parse_notification,
    reason_after,
)
from openxt_xenmgr.vm.model import Disk, VmConfig, free_device, next_id
from openxt_xenmgr.vm.preflight import Situation, need_none, reasons
from openxt_xenmgr.vm.slots import free_slot, swapped, wants_slot
from openxt_xenmgr.vm.states import State, acpi_state, parse_state, public, reached

A, B, C = (Uuid(f"00000000-0000-0000-0000-00000000000{digit}") for digit in "abc")


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.PRE_CREATE, "creating"),
        (State.CREATED, "creating"),
        (State.RUNNING, "running"),
        (State.SHUTTING_DOWN, "stopping"),
        (State.SHUTDOWN, "stopped"),
        (State.REBOOTED, "rebooted"),
    ],
)
def test_clients_see_fewer_states(state: State, word: str) -> None:
    assert public(state) == word
    assert parse_state(state.value) is state


def test_a_state_that_was_passed_counts_as_reached() -> None:
    assert reached(State.RUNNING, State.CREATING_DEVICES)
    assert reached(State.PAUSED, State.CREATED)
    assert not reached(State.CREATING_DOMAIN, State.CREATING_DEVICES)
    assert not reached(State.SHUTDOWN, State.PRE_CREATE)


@pytest.mark.parametrize(
    ("state", "hibernated", "hardware", "expected"),
    [
        (State.SHUTDOWN, False, 0, 5),
        (State.SHUTDOWN, True, 0, 4),
        (State.PRE_CREATE, False, 0, 5),
        (State.CREATING_DOMAIN, False, 0, 0),
        (State.RUNNING, False, 0, 0),
        (State.RUNNING, False, 3, 3),
        (State.RUNNING, False, 5, 0),
    ],
)
def test_the_acpi_state_of_clients(state: State, hibernated: bool, hardware: int, expected: int) -> None:
    assert acpi_state(state, hibernated=hibernated, hardware_state=hardware) == expected


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("vm:state:running", StateChanged(State.RUNNING)),
        ("vm:state:odd", None),
        ("power-state:3", PowerChanged(3)),
        ("power-state:", None),
        ("rtc:-3600", ClockChanged("-3600")),
        ("error:crashed", None),
        ("dbus-rpc-up", None),
        ("", None),
    ],
)
def test_xenvms_words_become_events(text: str, event: object) -> None:
    assert parse_notification(text) == event


def test_the_reason_of_a_shutdown_is_what_came_before_it() -> None:
    reason = ShutdownReason.CREATION_FAILURE
    for event in (StateChanged(State.CREATED), StateChanged(State.RUNNING), StateChanged(State.SHUTDOWN)):
        reason = reason_after(event, reason)
    assert reason is ShutdownReason.HALT
    assert reason_after(PowerChanged(5), reason) is ShutdownReason.POWEROFF


def test_slots_are_one_to_nine_lowest_first() -> None:
    assert free_slot([0, -1, 1, 2, 4]) == 3
    with pytest.raises(TooManyVms) as full:
        free_slot(range(1, 10))
    assert full.value.text.startswith("205:")


def test_a_template_with_a_slot_wants_no_other() -> None:
    assert not wants_slot({"slot": "-1"})
    assert wants_slot({"slot": "soon"})
    assert wants_slot({})


def test_taking_a_slot_gives_its_holder_the_old_one() -> None:
    assert swapped({A: 1, B: 2}, A, 2) == {A: 2, B: 1}
    assert swapped({A: 0, B: 2}, A, 2) == {A: 2}
    assert swapped({A: 1, B: 2}, A, 5) == {A: 5}


def test_new_disks_never_become_the_cd_drive() -> None:
    used = [Disk(0, device="hda"), Disk(1, device="hdb")]
    assert free_device(used) == "hdd"
    everything = [Disk(0, device=name) for name in ("hda", "hdb", "hdd")]
    assert free_device(everything) == "xvda"
    with pytest.raises(BadRequest):
        free_device(
            [*everything, *(Disk(0, device=f"xvd{letter}") for letter in "abcdefghijklmnopqrstuvwxyz")]
        )
    assert (next_id([]), next_id([0, 4])) == (0, 5)


def test_dependencies_come_deepest_first_and_dom0_is_none() -> None:
    assert dependencies_of(A, {A: [B, DOM0_UUID], B: [C]}) == [C, B]
    assert dependencies_of(A, {A: [B, C], B: [C]}) == [C, B]


def test_a_cycle_is_named() -> None:
    with pytest.raises(BadRequest, match=f"cycles: {A} -> {B} -> {A}"):
        dependencies_of(A, {A: [B], B: [A]})


def config(**tree: object) -> VmConfig:
    return VmConfig.of(A, {"config": {"notify": "dbus", "memory": "128"}, **tree})


def test_nothing_speaks_against_a_plain_vm() -> None:
    assert reasons(config(), Situation()) == []


def test_every_reason_is_told_at_once() -> None:
    found = reasons(VmConfig.of(A, {}), Situation(missing_backends=["ndvm"]))
    assert [type(reason) for reason in found] == [
        BadRequest,
        BadRequest,
        NetworkDomainNotRunning,
    ]
    with pytest.raises(BadRequest, match=r"also: .*ndvm"):
        need_none(found)


def test_what_speaks_against_its_devices_speaks_against_the_vm() -> None:
    absent = NoSuchDevice("the host has no PCI device")
    assert reasons(config(), Situation(devices=[absent])) == [absent]
