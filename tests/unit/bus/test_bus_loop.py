# SPDX-License-Identifier: GPL-2.0-or-later
"""The loop that favours one descriptor: nothing else ever waits longer than it would on a plain loop.

Each test keeps the favourite readable all the time, so that the loop could serve it for ever.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from keepers import KEEPERS, keeper
from openxt_bus import loop
from openxt_bus.loop import BusLoop

Body = Callable[[], Coroutine[Any, Any, None]]


class Favourite:
    """Always readable; counts how often it is served and does what it is told to."""

    def __init__(self) -> None:
        self.ours, self.peer = socket.socketpair()
        self.peer.send(b"never read")
        self.served = 0
        self.do: Callable[[], object] = lambda: None

    def favour(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, BusLoop)
        loop.add_reader(self.ours, self.readable)
        loop.favour(self.ours.fileno(), self.readable)

    def readable(self) -> None:
        self.served += 1
        self.do()


@pytest.fixture(params=KEEPERS, autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "Favourites", keeper(request.param).Favourites)


@pytest.fixture
def favourite() -> Iterator[Favourite]:
    favourite = Favourite()
    yield favourite
    favourite.ours.close()
    favourite.peer.close()


def run(body: Body) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await body()

    with asyncio.Runner(loop_factory=BusLoop) as runner:
        runner.run(limited())


def test_timers_are_kept_while_the_favourite_is_busy(favourite: Favourite) -> None:
    async def body() -> None:
        favourite.favour()
        await asyncio.sleep(0.01)

    run(body)
    assert favourite.served > 0


def test_a_timer_that_the_favourite_sets_is_kept(favourite: Favourite) -> None:
    async def body() -> None:
        done = asyncio.Event()
        favourite.do = lambda: asyncio.get_running_loop().call_later(0.01, done.set)
        favourite.favour()
        await done.wait()

    run(body)


def test_a_timer_is_kept_when_the_favourite_falls_silent(favourite: Favourite) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        favourite.do = lambda: favourite.served < 5 or favourite.ours.recv(100)
        begin_s = loop.time()
        for _ in range(3):
            favourite.served = 0
            favourite.favour()
            await asyncio.sleep(0.01)  # the timer that is to be kept
            assert favourite.served == 5
            favourite.peer.send(b"again")
        assert loop.time() - begin_s >= 0.03

    run(body)


def test_what_the_favourite_schedules_runs_next(favourite: Favourite) -> None:
    async def body() -> None:
        done = asyncio.Event()
        served: list[int] = []

        def finish() -> None:
            served.append(favourite.served)
            done.set()

        favourite.do = lambda: asyncio.get_running_loop().call_soon(finish)
        favourite.favour()
        await done.wait()
        assert served[0] == 1

    run(body)


def test_a_task_that_the_favourite_starts_runs_to_its_end(favourite: Favourite) -> None:
    async def body() -> None:
        tasks: list[asyncio.Task[str]] = []

        async def work() -> str:
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            return "done"

        def start() -> None:
            favourite.do = lambda: None
            tasks.append(asyncio.create_task(work()))

        favourite.do = start
        favourite.favour()
        while not tasks:
            await asyncio.sleep(0)
        assert await tasks[0] == "done"

    run(body)


def test_another_descriptor_is_served_as_well(favourite: Favourite) -> None:
    async def body() -> None:
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        favourite.favour()
        peer.send(b"hello")
        assert await asyncio.get_running_loop().sock_recv(ours, 100) == b"hello"
        ours.close()
        peer.close()

    run(body)


def test_another_thread_gets_through(favourite: Favourite) -> None:
    async def body() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        favourite.favour()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(done.set,))
        thread.start()
        await done.wait()
        thread.join()

    run(body)


def test_the_loop_can_be_stopped_by_the_favourite(favourite: Favourite) -> None:
    loop = BusLoop()

    async def begin() -> None:
        favourite.do = loop.stop
        favourite.favour()

    loop.create_task(begin())
    loop.run_forever()
    assert favourite.served == 1
    loop.remove_reader(favourite.ours)
    loop.close()


def test_a_failing_favourite_is_reported_and_ends_nothing(favourite: Favourite) -> None:
    async def body() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
        favourite.do = lambda: 1 / 0
        favourite.favour()
        await asyncio.sleep(0.01)
        assert isinstance(reported[0]["exception"], ZeroDivisionError)

    run(body)


def test_a_forgotten_favourite_is_not_served_any_more(favourite: Favourite) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, BusLoop)

        def leave() -> None:
            loop.forget(favourite.ours.fileno())
            loop.remove_reader(favourite.ours)

        favourite.do = leave
        favourite.favour()
        await asyncio.sleep(0.01)

    run(body)
    assert favourite.served == 1


def test_only_the_first_is_the_favourite_until_it_is_forgotten(favourite: Favourite) -> None:
    async def body() -> None:
        second = Favourite()
        favourite.favour()
        second.favour()
        await asyncio.sleep(0.01)
        second.ours.close()
        second.peer.close()
        assert second.served > 0  # by the usual turns of the loop
        assert favourite.served > 0

    run(body)
