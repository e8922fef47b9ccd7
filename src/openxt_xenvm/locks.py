# SPDX-License-Identifier: GPL-2.0-or-later
"""Exclusive locks between processes, by a file each.  They end with the process, however it ends.

Monitors of VMs share one file, in which each has a byte of its own: so there is nothing to remove.
"""

import asyncio
import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

PAUSE_S: Final = 0.01
"""Between two tries: the kernel tells nobody when a lock is free, but for who stands still until then."""


@asynccontextmanager
async def alone(path: Path) -> AsyncIterator[None]:
    """For what is done in a moment; who is cancelled while it waits leaves no lock behind."""
    with _opened(path) as descriptor:
        while not _is_taken(descriptor):  # noqa: ASYNC110  (see PAUSE_S)
            await asyncio.sleep(PAUSE_S)
        yield


async def take_byte(path: Path, name: str, wait_s: float) -> int:
    """A descriptor that keeps the file's byte for `name` ours until it is closed.  Raises TimeoutError.

    No other descriptor of that file may be closed in this process meanwhile: that would give the byte back.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])  # a place in a file has 63 bits
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        async with asyncio.timeout(wait_s):
            while not _is_byte_taken(descriptor, number):  # noqa: ASYNC110  (see PAUSE_S)
                await asyncio.sleep(PAUSE_S)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _is_byte_taken(descriptor: int, number: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


@asynccontextmanager
async def in_turn(path: Path) -> AsyncIterator[None]:
    """The same for what takes long: who waits is woken by the kernel, and sooner than who came later."""
    with _opened(path) as descriptor:
        if not _is_taken(descriptor):
            await _stand_still(os.dup(descriptor))
        yield


async def _stand_still(own: int) -> None:
    """In a thread that ends with the wait, or with the process.  `own` is closed by it."""
    turn: Future[None] = Future()

    def wait() -> None:
        turn.set_running_or_notify_cancel()
        try:
            fcntl.flock(own, fcntl.LOCK_EX)
            turn.set_result(None)
        except OSError as error:
            turn.set_exception(error)
        finally:
            os.close(own)

    threading.Thread(target=wait, name="lock", daemon=True).start()
    await asyncio.wrap_future(turn)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
