# SPDX-License-Identifier: GPL-2.0-or-later
"""Three callers at once on a real bus see one database, changed by one operation after the other."""

import asyncio
import itertools
from typing import Any

import pytest
from dbd_host import Host, Start
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from linearizable import Event, end_states

from dbd_model import Model, Refusal
from effort import effort
from openxt_api.db import DbClient
from openxt_bus.connection import Bus
from openxt_core.errors import RemoteError
from openxt_core.ids import DBD_NAME

pytestmark = pytest.mark.proof

CALLERS = 3
EXAMPLES, STEPS = effort(4, 300), effort(12, 50)
REFUSED = "refused"
FAILED = "org.freedesktop.DBus.Error.Failed"

PATHS = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/vm", "/vm/x", "/vm/x/k", "/vm/y/k", "/dom-store/u/k"])
JSON = st.sampled_from(['{"b":{"c":"1"},"z":null}', "{}", "null", '"s"', "5", "{", '{"x":{"k":"v"}}'])
OPERATIONS = st.one_of(
    st.tuples(st.just("write"), PATHS, st.sampled_from("1234")),
    st.tuples(st.sampled_from(["read", "list", "exists", "dump", "rm"]), PATHS),
    st.tuples(st.just("inject"), PATHS, JSON),
)
BURSTS = st.lists(st.lists(OPERATIONS, min_size=1, max_size=4), min_size=CALLERS, max_size=CALLERS)


def run(model: Model, operation: tuple[str, ...]) -> Any:
    name, *arguments = operation
    try:
        return getattr(model, {"list": "names"}.get(name, name))(*arguments)
    except Refusal:
        return REFUSED


class Callers:
    """Connections of their own, and the clock that all of them look at."""

    def __init__(self, address: str) -> None:
        self._runner = asyncio.Runner()
        self._clock = itertools.count()
        self._buses = [self._runner.run(Bus.connect(address)) for _ in range(CALLERS)]
        self._clients = [DbClient(bus, DBD_NAME, "/") for bus in self._buses]

    def at_once(self, bursts: list[list[tuple[str, ...]]]) -> list[Event]:
        """Each caller does its operations one after the other."""
        return self._runner.run(self._at_once(bursts))

    async def _at_once(self, bursts: list[list[tuple[str, ...]]]) -> list[Event]:
        histories = await asyncio.gather(*(self._one(number, ops) for number, ops in enumerate(bursts)))
        return [event for history in histories for event in history]

    async def _one(self, number: int, operations: list[tuple[str, ...]]) -> list[Event]:
        found = []
        for operation in operations:
            begin = next(self._clock)
            answer = await self._answer(self._clients[number], operation)
            found.append(Event(number, operation, answer, begin, next(self._clock)))
        return found

    @staticmethod
    async def _answer(client: DbClient, operation: tuple[str, ...]) -> Any:
        name, *arguments = operation
        try:
            return await getattr(client, name)(*arguments)
        except RemoteError as error:
            return REFUSED if error.name == FAILED else error

    def close(self) -> None:
        async def close() -> None:
            for bus in self._buses:
                bus.close()

        self._runner.run(close())
        self._runner.close()


class Concurrent(RuleBasedStateMachine):
    """Bursts of operations; after each all orders that fit are followed further."""

    callers: Callers
    steps = operations = 0

    @initialize()
    def empty(self) -> None:
        self.callers.at_once([[("inject", "/", "{}")]])
        self.states = {"": Model()}

    @rule(bursts=BURSTS)
    def burst(self, bursts: list[list[tuple[str, ...]]]) -> None:
        history = self.callers.at_once(bursts)
        Concurrent.steps += 1
        Concurrent.operations += len(history)
        after: dict[str, Model] = {}
        for state in self.states.values():
            after |= end_states(state, history, run)  # type: ignore[arg-type]  # they are Models, as `state` is
        assert after, history
        self.states = after


def test_concurrent_callers_see_one_order_of_operations(
    host: Host, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    start()
    callers = Callers(host.bus_address)
    Concurrent.callers = callers
    try:
        run_state_machine_as_test(
            Concurrent,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
            ),
        )
    finally:
        callers.close()
    with capsys.disabled():
        print(f"\n  {Concurrent.steps} steps, {Concurrent.operations} operations: linearizable")
    assert Concurrent.steps >= effort(20, 10_000)


# The checker itself


def events(*told: tuple[int, tuple[str, ...], Any, int, int]) -> list[Event]:
    return [Event(*one) for one in told]


LOST = events((0, ("write", "/a", "1"), None, 0, 1), (1, ("read", "/a"), "", 2, 3))
FROM_THE_FUTURE = events((0, ("read", "/a"), "1", 0, 1), (1, ("write", "/a", "1"), None, 2, 3))
BACK_AND_FORTH = events(
    (0, ("write", "/a", "1"), None, 0, 9),
    (1, ("read", "/a"), "1", 1, 2),
    (2, ("read", "/a"), "", 3, 4),
)
TORN = events(
    (0, ("inject", "/a", '{"b": "1", "c": "1"}'), None, 0, 9),
    (1, ("read", "/a/b"), "1", 1, 2),
    (1, ("read", "/a/c"), "", 3, 4),
)


@pytest.mark.parametrize("history", [LOST, FROM_THE_FUTURE, BACK_AND_FORTH, TORN])
def test_the_checker_finds_out_what_no_order_explains(history: list[Event]) -> None:
    assert end_states(Model(), history, run) == {}


def test_the_checker_accepts_every_order_that_is_possible() -> None:
    history = events((0, ("write", "/a", "1"), None, 0, 2), (1, ("write", "/a", "2"), None, 1, 3))
    assert len(end_states(Model(), history, run)) == 2
