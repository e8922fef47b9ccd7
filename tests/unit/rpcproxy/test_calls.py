# SPDX-License-Identifier: GPL-2.0-or-later
"""Open calls: who may answer what, how often, and how many there are."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_rpcproxy.budget import Budget, Limits, LimitsExceeded, Share
from openxt_rpcproxy.calls import MAX_ASKED, About, Note, OpenCalls

LIMIT = 100


@pytest.fixture
def calls() -> OpenCalls:
    return OpenCalls(Share(Budget(Limits(open_calls=LIMIT))))


def test_an_answer_passes_once(calls: OpenCalls) -> None:
    note = Note(About.OWNER, "a.service")
    calls.client_asks(5, note)
    assert not calls.may_answer("", 5)
    assert calls.bus_answers(6) == (False, None)
    assert calls.bus_answers(5) == (True, note)
    assert calls.bus_answers(5) == (False, None)


def test_a_client_answers_only_who_asked_it_and_once(calls: OpenCalls) -> None:
    calls.bus_asks(":1.1", 5)
    assert not calls.client_answers(":1.2", 5)
    assert not calls.client_answers(":1.1", 6)
    assert calls.client_answers(":1.1", 5)
    assert not calls.client_answers(":1.1", 5)


def test_a_serial_is_not_used_twice_at_a_time(calls: OpenCalls) -> None:
    calls.client_asks(5)
    with pytest.raises(LimitsExceeded, match="serial 5"):
        calls.client_asks(5)
    calls.bus_answers(5)
    calls.client_asks(5)


def test_open_calls_are_bounded_for_the_domain_however_many_conversations_it_has() -> None:
    budget = Budget(Limits(open_calls=LIMIT))
    first, second = OpenCalls(Share(budget)), OpenCalls(Share(budget))
    for serial in range(1, LIMIT // 2 + 1):
        first.client_asks(serial)
        second.client_asks(serial)
    with pytest.raises(LimitsExceeded, match="100 open calls"):
        second.client_asks(LIMIT)
    first.bus_answers(1)
    second.client_asks(LIMIT)


def test_of_too_many_questions_to_the_client_the_oldest_is_given_up(calls: OpenCalls) -> None:
    for serial in range(1, MAX_ASKED + 2):
        calls.bus_asks(":1.1", serial)
    assert not calls.client_answers(":1.1", 1)
    assert calls.client_answers(":1.1", 2)
    assert calls.client_answers(":1.1", MAX_ASKED + 1)


def test_the_quick_ways_do_what_the_others_do() -> None:
    budget = Budget(Limits(open_calls=2))
    calls = OpenCalls(Share(budget))
    assert calls.may_ask("", 5)
    assert not calls.may_ask("", 5)
    assert calls.may_ask("", 6)
    assert not calls.may_ask("", 7)
    assert calls.may_answer("", 5)
    assert not calls.may_answer("", 5)
    assert budget.open_calls == 1
    assert calls.bus_answers(6) == (True, None)
    assert budget.open_calls == 0


SERIALS = st.lists(st.integers(1, 8), min_size=1, max_size=6)
STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "answer", "bus asks", "client answers"]), SERIALS), max_size=20
)


@given(STEPS, st.sets(st.integers(1, 8), max_size=3))
def test_many_at_once_are_what_one_by_one_are_or_nothing(
    steps: list[tuple[str, list[int]]], noted: set[int]
) -> None:
    at_once, singly = (OpenCalls(Share(Budget(Limits(open_calls=5)))) for _ in range(2))
    for calls in (at_once, singly):
        for serial in noted:
            calls.client_asks(serial, Note(About.MATCH))
    for step, serials in steps:
        together, one = {
            "ask": (at_once.may_ask_all, OpenCalls.may_ask),
            "answer": (at_once.may_answer_all, OpenCalls.may_answer),
            "bus asks": (at_once.bus_asks_all, OpenCalls.bus_asks),
            "client answers": (at_once.client_answers_all, OpenCalls.client_answers),
        }[step]
        trial = deepcopy(singly)
        if together(":1.1", serials):
            assert all(one(singly, ":1.1", serial) for serial in serials)
        else:
            assert not all(one(trial, ":1.1", serial) for serial in serials)
        assert state(at_once) == state(singly)


def state(calls: OpenCalls) -> object:
    return calls._clients, calls._buses, calls._budget.open_calls
