# SPDX-License-Identifier: GPL-2.0-or-later
"""Open calls: who may answer what, how often, and how many there are."""

from collections.abc import Callable
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_rpcproxy.budget import Budget, Limits, LimitsExceeded, Share
from openxt_rpcproxy.calls import MAX_ASKED, About, BusCalls, Calls, ClientCalls, Note

LIMIT = 100


@pytest.fixture
def calls() -> ClientCalls:
    return ClientCalls(Share(Budget(Limits(open_calls=LIMIT))))


def test_an_answer_passes_once(calls: ClientCalls) -> None:
    note = Note(About.OWNER, "a.service")
    calls.ask(5, note)
    assert not calls.may_answer("", 5)
    assert calls.answer(6) == (False, None)
    assert calls.answer(5) == (True, note)
    assert calls.answer(5) == (False, None)


def test_a_client_answers_only_who_asked_it_and_once() -> None:
    calls = BusCalls()
    calls.may_ask(":1.1", 5)
    assert not calls.may_answer(":1.2", 5)
    assert not calls.may_answer(":1.1", 6)
    assert calls.may_answer(":1.1", 5)
    assert not calls.may_answer(":1.1", 5)


def test_a_serial_is_not_used_twice_at_a_time(calls: ClientCalls) -> None:
    calls.ask(5)
    with pytest.raises(LimitsExceeded, match="serial 5"):
        calls.ask(5)
    calls.answer(5)
    calls.ask(5)


def test_open_calls_are_bounded_for_the_domain_however_many_conversations_it_has() -> None:
    budget = Budget(Limits(open_calls=LIMIT))
    first, second = ClientCalls(Share(budget)), ClientCalls(Share(budget))
    for serial in range(1, LIMIT // 2 + 1):
        first.ask(serial)
        second.ask(serial)
    with pytest.raises(LimitsExceeded, match="100 open calls"):
        second.ask(LIMIT)
    first.answer(1)
    second.ask(LIMIT)


def test_of_too_many_questions_to_the_client_the_oldest_is_given_up() -> None:
    calls = BusCalls()
    for serial in range(1, MAX_ASKED + 2):
        calls.may_ask(":1.1", serial)
    assert not calls.may_answer(":1.1", 1)
    assert calls.may_answer(":1.1", 2)
    assert calls.may_answer(":1.1", MAX_ASKED + 1)


def test_the_quick_ways_do_what_the_others_do() -> None:
    budget = Budget(Limits(open_calls=2))
    calls = ClientCalls(Share(budget))
    assert calls.may_ask("", 5)
    assert not calls.may_ask("", 5)
    assert calls.may_ask("", 6)
    assert not calls.may_ask("", 7)
    assert calls.may_answer("", 5)
    assert not calls.may_answer("", 5)
    assert budget.open_calls == 1
    assert calls.answer(6) == (True, None)
    assert budget.open_calls == 0


SERIALS = st.lists(st.integers(1, 8), min_size=1, max_size=6)
STEPS = st.lists(st.tuples(st.sampled_from(["ask", "answer"]), SERIALS), max_size=20)


def clients(noted: set[int]) -> ClientCalls:
    calls = ClientCalls(Share(Budget(Limits(open_calls=5))))
    for serial in noted:
        calls.ask(serial, Note(About.MATCH))
    return calls


def of_the_bus(_noted: set[int]) -> BusCalls:
    return BusCalls()


@pytest.mark.parametrize("of", [clients, of_the_bus])
@given(steps=STEPS, noted=st.sets(st.integers(1, 8), max_size=3))
def test_many_at_once_are_what_one_by_one_are_or_nothing(
    of: Callable[[set[int]], Calls], steps: list[tuple[str, list[int]]], noted: set[int]
) -> None:
    at_once, singly = of(noted), of(noted)
    for step, serials in steps:
        together = at_once.may_ask_all if step == "ask" else at_once.may_answer_all
        is_done = together(":1.1", serials)
        trial = singly if is_done else deepcopy(singly)
        one = trial.may_ask if step == "ask" else trial.may_answer
        assert all(one(":1.1", serial) for serial in serials) is is_done
        assert state(at_once) == state(singly)


def state(calls: Calls) -> object:
    used = calls._budget.open_calls if isinstance(calls, ClientCalls) else 0
    return calls._open, used  # type: ignore[attr-defined]  # what both keep, and a test may see
