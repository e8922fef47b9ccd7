# SPDX-License-Identifier: GPL-2.0-or-later
"""Exclusive locks between processes, by a file each.  They end with the process, however it ends."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

PAUSE_S: Final = 0.01
"""Between two tries: the kernel tells nobody when a lock is free, but for who stands still until then."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Blocks until it is ours: for a worker thread only."""
    with _opened(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@asynccontextmanager
async def alone(path: Path) -> AsyncIterator[None]:
    """As `locked`, for the event loop; who is cancelled while it waits leaves no lock behind."""
    with _opened(path) as descriptor:
        while not _is_taken(descriptor):  # noqa: ASYNC110  (see PAUSE_S)
            await asyncio.sleep(PAUSE_S)
        yield


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
