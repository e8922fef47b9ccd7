# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VMs a VM needs, in which order they stop, and what rivals one another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_core.ids import Uuid
from openxt_xenmgr.vm.dependencies import dependencies_of, stop_order
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.preflight import Situation, reasons

A, B, C, D = (Uuid(letter) for letter in "abcd")
LETTERS = st.sampled_from([A, B, C, D])


def test_the_deepest_comes_first_and_a_diamond_once() -> None:
    assert dependencies_of(A, {A: [B, C], B: [D], C: [D]}) == [D, B, C]


def test_a_circle_is_told_with_the_names() -> None:
    names = {A: "desktop", B: "router"}
    with pytest.raises(BadRequest, match="desktop -> router -> desktop"):
        dependencies_of(A, {A: [B], B: [A]}, names.__getitem__)


@given(st.dictionaries(LETTERS, st.lists(LETTERS, max_size=3)))
def test_nobody_stops_before_those_that_need_it(edges: dict[Uuid, list[Uuid]]) -> None:
    order = stop_order(A, edges)
    assert order[-1] == A
    assert len(order) == len(set(order))
    try:
        for uuid in order:
            dependencies_of(uuid, edges)
    except BadRequest:
        return  # in a circle there is no such order
    for at, uuid in enumerate(order):
        assert not set(order[at:]) & {user for user, needed in edges.items() if uuid in needed}


def config(**leaves: str) -> VmConfig:
    return VmConfig.of(A, {"config": {"notify": "dbus", "memory": "1"}, **leaves})


@pytest.mark.parametrize(
    ("one", "now", "number"),
    [
        (config(gpu="hdx"), Situation(max_vgpus=1, running=[config(gpu="hdx", type="uivm")]), "218:"),
        (config(gpu="hdx"), Situation(has_vtd=False), "211:"),
        (config(**{"amt-pt": "true"}), Situation(running=[config(**{"amt-pt": "true"})]), "219:"),
        (
            config(**{"oem-acpi-features": "true"}),
            Situation(running=[config(**{"oem-acpi-features": "true"})]),
            "233:",
        ),
    ],
)
def test_what_only_one_can_have_is_refused_by_its_number(one: VmConfig, now: Situation, number: str) -> None:
    assert [why.text[:4] for why in reasons(one, now)] == [number]


def test_two_gpu_vms_run_where_the_display_daemon_allows_two() -> None:
    assert reasons(config(gpu="hdx"), Situation(max_vgpus=2, running=[config(gpu="hdx")])) == []


def test_nothing_starts_while_the_host_goes_down() -> None:
    (why,) = reasons(config(), Situation(host_state="shutting-down"))
    assert "shutting-down" in str(why)
