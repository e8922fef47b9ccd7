# SPDX-License-Identifier: GPL-2.0-or-later
"""Open calls: who may answer what, how often, and how many there are."""

import pytest

from openxt_rpcproxy.calls import MAX_OPEN, OpenCalls, TooManyCalls


def test_an_answer_passes_once() -> None:
    calls = OpenCalls()
    calls.client_asks(5, "note")
    assert calls.bus_answers(6) is None
    assert calls.bus_answers(5) == "note"
    assert calls.bus_answers(5) is None


def test_a_client_answers_only_who_asked_it_and_once() -> None:
    calls = OpenCalls()
    calls.bus_asks(":1.1", 5)
    assert not calls.client_answers(":1.2", 5)
    assert not calls.client_answers(":1.1", 6)
    assert calls.client_answers(":1.1", 5)
    assert not calls.client_answers(":1.1", 5)


def test_a_serial_is_not_used_twice_at_a_time() -> None:
    calls = OpenCalls()
    calls.client_asks(5)
    with pytest.raises(TooManyCalls, match="serial 5"):
        calls.client_asks(5)
    calls.bus_answers(5)
    calls.client_asks(5)


def test_open_calls_are_bounded_both_ways() -> None:
    calls = OpenCalls()
    for serial in range(1, MAX_OPEN + 1):
        calls.client_asks(serial)
        calls.bus_asks(":1.1", serial)
    with pytest.raises(TooManyCalls):
        calls.client_asks(MAX_OPEN + 1)
    calls.bus_asks(":1.1", MAX_OPEN + 1)
    assert not calls.client_answers(":1.1", 1)  # the oldest was given up
    assert calls.client_answers(":1.1", 2)
    assert calls.client_answers(":1.1", MAX_OPEN + 1)
