# SPDX-License-Identifier: GPL-2.0-or-later
"""What a domain may use: counted over all its conversations, and given back."""

import pytest

from openxt_core.errors import BadRequest
from openxt_core.ids import DOM0, Domid
from openxt_rpcproxy.budget import Budget, Budgets, Limits, LimitsExceeded, Share
from openxt_rpcproxy.calls import ClientCalls


def test_conversations_of_a_domain_are_counted() -> None:
    budget = Budget(Limits(connections=2))
    first = Share(budget)
    Share(budget)
    with pytest.raises(LimitsExceeded, match="more than 2 connections"):
        Share(budget)
    first.end()
    Share(budget)


def test_everything_a_conversation_had_goes_back_when_it_ends() -> None:
    budget = Budget(Limits(match_rules=1, names=1, open_calls=1, held_bytes=10))
    share = Share(budget)
    ClientCalls(share).ask(1)
    share.add_match()
    share.add_name("a.b")
    assert share.hold(10)
    other = Share(budget)
    calls = ClientCalls(other)
    for more in (lambda: calls.ask(1), other.add_match, lambda: other.add_name("a.c")):
        with pytest.raises(LimitsExceeded):
            more()
    assert not other.hold(1)
    other.hold(0)
    share.end()
    calls.ask(1)
    other.add_match()
    other.add_name("a.c")
    assert other.hold(10)


def test_a_name_that_is_asked_for_again_costs_nothing() -> None:
    share = Share(Budget(Limits(names=1)))
    share.add_name("a.b")
    share.add_name("a.b")
    share.remove_name("a.b")
    share.add_name("a.c")


def test_messages_beyond_the_rate_wait_and_a_pause_pays_for_a_burst() -> None:
    budget = Budget(Limits(messages_per_s=100, burst=50), now=1000.0)
    assert budget.spend(50, 1000.0) == pytest.approx(0.5)
    assert budget.spend(100, 2000.0) == pytest.approx(0.5)
    assert budget.spend(10, 3000.0) == 0.0


def test_a_limit_is_complained_of_once_in_a_while() -> None:
    budget = Budget(Limits())
    assert [budget.may_complain("names") for _ in range(3)] == [True, False, False]
    assert budget.may_complain("connections")


def test_dom0_has_no_limits_and_a_domain_keeps_its_budget() -> None:
    budgets = Budgets(Limits(connections=1))
    assert budgets.of(Domid(7)) is budgets.of(Domid(7))
    for _ in range(100):
        Share(budgets.of(DOM0))


def test_domains_that_come_and_go_do_not_fill_memory() -> None:
    budgets = Budgets(Limits())
    busy = Share(budgets.of(Domid(1)))
    for number in range(2, 3000):
        budgets.of(Domid(number))
    assert budgets.of(Domid(1)) is busy.budget
    assert len(budgets._of) < 1100


def test_limits_are_read_from_words() -> None:
    assert Limits().with_words(("open-calls=7", "names=3")) == Limits(open_calls=7, names=3)
    for word in ("tea=1", "names", "names=0", "names=-1"):
        with pytest.raises(BadRequest):
            Limits().with_words((word,))
