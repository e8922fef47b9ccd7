# SPDX-License-Identifier: GPL-2.0-or-later
"""Who owns a name that is followed: what is told behind the answer counts, failures leave no rule behind."""

from collections.abc import Sequence

import pytest

from openxt_bus.matching import BUS_NAME, Match, Signal
from openxt_bus.subscriptions import Subscriptions
from openxt_core.errors import Unavailable
from openxt_core.spec import Value

NAME = "org.test.One"


class OneNameBus:
    """A bus where one name is owned; `late` owns it right behind the answer, before that is read."""

    def __init__(self, owner: str | None, late: str | None = None) -> None:
        self.owner, self.late = owner, late
        self.is_lost = False
        self.rules: list[str] = []
        self.subscriptions = Subscriptions(self.ask, self.owner_of)

    async def ask(self, member: str, _signature: str, rule: str) -> Sequence[Value]:
        (self.rules.append if member == "AddMatch" else self.rules.remove)(rule)
        return ()

    async def owner_of(self, _name: str) -> str | None:
        if self.is_lost:
            raise Unavailable("the bus is lost")
        if self.late is not None:
            self.tell(self.owner or "", self.late)
        return self.owner

    def tell(self, old: str, new: str) -> None:
        self.subscriptions.deliver(
            Signal(BUS_NAME, "/org/freedesktop/DBus", BUS_NAME, "NameOwnerChanged", [NAME, old, new])
        )


CHANGES = [
    (None, None, ""),
    (":1.7", None, ":1.7"),
    (None, ":1.7", ":1.7"),
    (":1.7", "", ""),
    (":1.7", ":1.8", ":1.8"),
]


@pytest.mark.parametrize(("owner", "late", "now"), CHANGES)
async def test_what_comes_behind_the_answer_counts_more(
    owner: str | None, late: str | None, now: str
) -> None:
    bus, told = OneNameBus(owner, late), list[str]()
    _, found = await bus.subscriptions.follow_name(NAME, lambda _, new: told.append(new))
    assert found == now
    assert told == ([] if late is None else [late])


@pytest.mark.parametrize(("owner", "late", "now"), CHANGES)
async def test_signals_of_a_followed_name_are_those_of_its_owner(
    owner: str | None, late: str | None, now: str
) -> None:
    bus, heard = OneNameBus(owner, late), list[str]()
    await bus.subscriptions.add(Match("a.b", "c", sender=NAME), lambda signal: heard.append(signal.sender))
    for sender in (":1.7", ":1.8"):
        bus.subscriptions.deliver(Signal(sender, "/", "a.b", "c", []))
    assert heard == ([now] if now else [])


async def test_a_name_that_cannot_be_asked_for_leaves_no_rule() -> None:
    bus = OneNameBus(":1.7")
    bus.is_lost = True
    with pytest.raises(Unavailable):
        await bus.subscriptions.follow_name(NAME, lambda _old, _new: None)
    assert bus.rules == []
