# SPDX-License-Identifier: GPL-2.0-or-later
"""Callbacks that are run from the wait for input: the same by the module in C and by the one in Python.

What a loop makes of it is tested in test_bus_loop.py.
"""

import gc
import select
import signal
import socket
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from keepers import KEEPERS, keeper

WAIT_MS = 1_000
"""Longer than anything here takes; where nothing else ends a wait the test is slow, but right."""


class House:
    """Some sockets that have something to read until they are emptied."""

    def __init__(self, name: str) -> None:
        self.epoll = select.epoll()
        self.reported: list[Exception] = []
        self.favourites = keeper(name).Favourites(self.epoll.fileno(), self.reported.append)
        self.pairs: list[tuple[socket.socket, socket.socket]] = []

    def socket(self, callback: Callable[[], object] | None = None) -> socket.socket:
        """One that has something to read; favoured if there is a callback."""
        ours, theirs = socket.socketpair()
        self.pairs.append((ours, theirs))
        theirs.send(b"something")
        self.epoll.register(ours, select.EPOLLIN)
        if callback is not None:
            self.favourites.favour(ours.fileno(), callback)
        return ours

    def stir(self) -> None:
        self.favourites.stirred = True

    def close(self) -> None:
        for one in (end for pair in self.pairs for end in pair):
            one.close()
        self.epoll.close()


@pytest.fixture(params=KEEPERS)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    house = House(request.param)
    yield house
    house.close()


def test_with_a_time_out_there_is_one_look(house: House) -> None:
    served: list[str] = []
    house.socket(lambda: served.append("one"))
    house.socket(lambda: served.append("two"))
    before = house.favourites.turn
    assert house.favourites.serve(WAIT_MS) is True
    assert (sorted(served), house.favourites.stirred) == (["one", "two"], False)
    assert house.favourites.turn == before + 1


def test_without_one_it_goes_on_until_something_is_stirred(house: House) -> None:
    served: list[int] = []

    def serve() -> None:
        served.append(house.favourites.turn)
        if len(served) == 5:
            house.stir()

    house.socket(serve)
    first = house.favourites.turn
    assert house.favourites.serve(-1) is True
    assert served == list(range(first, first + 5))
    assert house.favourites.stirred is True


def test_when_one_stirs_the_others_of_that_look_wait(house: House) -> None:
    served: list[int] = []

    def serve() -> None:
        served.append(1)
        house.stir()

    for _ in range(3):
        house.socket(serve)
    assert house.favourites.serve(-1) is True
    assert len(served) == 1


def test_what_was_stirred_before_the_wait_does_not_count(house: House) -> None:
    house.socket(house.stir)
    house.stir()
    assert house.favourites.serve(-1) is True
    assert house.favourites.serve(-1) is True


def test_others_end_the_wait_and_are_left_as_they_are(house: House) -> None:
    other = house.socket()
    for wait in (-1, WAIT_MS):
        assert house.favourites.serve(wait) is False
    assert other.recv(100) == b"something"


def test_a_favourite_that_is_hung_up_is_for_others(house: House) -> None:
    house.socket(lambda: 1 / 0)
    house.pairs[0][1].close()
    assert house.favourites.serve(-1) is False
    assert house.reported == []


def test_the_time_is_over_when_nothing_comes(house: House) -> None:
    house.socket(house.stir).recv(100)
    assert house.favourites.serve(0) is False
    assert house.favourites.serve(1) is False


def test_one_that_was_forgotten_is_for_others(house: House) -> None:
    one = house.socket(house.stir)
    assert len(house.favourites) == 1
    house.favourites.stirred = False
    house.favourites.forget(one.fileno())
    assert (len(house.favourites), house.favourites.stirred) == (0, True)
    house.favourites.stirred = False
    house.favourites.forget(one.fileno())
    assert house.favourites.stirred is False
    assert house.favourites.serve(-1) is False


def test_one_may_forget_itself_and_others_while_it_is_served(house: House) -> None:
    served: list[int] = []
    ones: list[int] = []

    def serve() -> None:
        served.append(1)
        for one in ones:
            house.favourites.forget(one)

    ones += [house.socket(serve).fileno() for _ in range(3)]
    assert house.favourites.serve(-1) is True
    assert (len(served), len(house.favourites)) == (1, 0)


def test_what_a_callback_raises_is_reported_and_ends_nothing(house: House) -> None:
    served: list[int] = []

    def fail() -> None:
        served.append(1)
        if len(served) == 3:
            house.stir()
        raise ValueError(len(served))

    house.socket(fail)
    assert house.favourites.serve(-1) is True
    assert [(type(error), error.args) for error in house.reported] == [(ValueError, (n,)) for n in (1, 2, 3)]


def test_what_is_no_mere_error_goes_through(house: House) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    house.socket(interrupt)
    with pytest.raises(KeyboardInterrupt):
        house.favourites.serve(-1)
    assert house.reported == []


def test_a_signal_is_handled_while_it_waits(house: House) -> None:
    """As `asyncio.Runner` does: the handler of SIGINT raises."""

    class Stopped(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    house.socket(house.stir).recv(100)
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        timer = threading.Timer(0.05, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1))
        timer.start()
        with pytest.raises(Stopped):
            house.favourites.serve(-1)
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_other_threads_run_while_it_waits(house: House) -> None:
    one = house.socket(house.stir)
    one.recv(100)
    thread = threading.Timer(0.01, house.pairs[0][1].send, (b"more",))
    thread.start()
    assert house.favourites.serve(-1) is True
    thread.join()


@pytest.mark.parametrize("name", KEEPERS)
def test_who_is_in_a_circle_with_them_goes(name: str) -> None:
    class Owner:
        def __init__(self, epoll: int) -> None:
            self.favourites = keeper(name).Favourites(epoll, self.report)
            self.favourites.favour(5, self.report)

        def report(self, *_: object) -> None:
            pass

    with select.epoll() as epoll:
        gone = weakref.ref(Owner(epoll.fileno()))
        gc.collect()
        assert gone() is None


def test_nonsense_is_refused() -> None:
    quick = keeper("c")
    with pytest.raises(TypeError):
        quick.Favourites("1", print)
    favourites = quick.Favourites(-1, print)
    with pytest.raises(OSError, match="Bad file descriptor"):
        favourites.serve(0)
    for nonsense in ((), (1,), ("1", print)):
        with pytest.raises(TypeError):
            favourites.favour(*nonsense)
    with pytest.raises(TypeError):
        favourites.serve("1")
    with pytest.raises(TypeError):
        favourites.stirred = 1
