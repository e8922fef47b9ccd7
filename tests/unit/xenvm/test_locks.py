# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks between processes: one at a time, and whoever gives up waiting leaves none behind."""

import asyncio
import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest

from openxt_xenvm.locks import alone, in_turn

Kind = Callable[[Path], AbstractAsyncContextManager[None]]


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """By somebody else."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("kind", [alone, in_turn])
async def test_one_has_it_at_a_time(kind: Kind, tmp_path: Path) -> None:
    lock, inside = tmp_path / "folder/lock", 0

    async def work() -> None:
        nonlocal inside
        async with kind(lock):
            inside += 1
            await asyncio.sleep(0)
            assert inside == 1
            inside -= 1

    await asyncio.gather(*(work() for _ in range(10)))


@pytest.mark.parametrize("kind", [alone, in_turn])
async def test_who_gives_up_waiting_leaves_no_lock_behind(kind: Kind, tmp_path: Path) -> None:
    lock = tmp_path / "lock"

    async def wait() -> None:
        async with kind(lock):
            raise AssertionError("it was not free")

    with held(lock):
        waiting = asyncio.create_task(wait())
        while not (waiting.done() or threading.active_count() > 1 or kind is alone):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(10), kind(lock):
        pass


async def test_who_waits_long_waits_in_no_worker_and_gets_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    got = asyncio.Event()

    async def wait() -> None:
        async with in_turn(lock):
            got.set()

    with held(lock):
        waiting = asyncio.create_task(wait())
        await asyncio.to_thread(lambda: None)
        assert not got.is_set()
    async with asyncio.timeout(10):
        await waiting
    assert got.is_set()
