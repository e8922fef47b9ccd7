# SPDX-License-Identifier: GPL-2.0-or-later
"""Empty folders of XenStore that many monitors fill: removed by one at a time.

A folder is removed in the transaction that has found it empty, so that nothing is lost which somebody puts
there meanwhile.  But C xenstored (4.17) takes it for a damaged store if the folder itself has gone by then:
it answers EIO and walks the whole store, deleting what seems to hang in the air.  Therefore the lock.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from openxt_xen.xenstore.client import XenStore

LOCK_PAUSE_S: Final = 0.01


async def prune(store: XenStore, lock: Path, path: str, *, up_to: str) -> None:
    """Remove a directory if it is empty, and then those above it that are, below `up_to`."""
    while path.startswith(f"{up_to}/") and not await store.list(path):
        async with alone(lock):
            await store.transact(partial(_remove_if_empty, store, path))
        path = path.rpartition("/")[0]


async def _remove_if_empty(store: XenStore, path: str, tx: int) -> None:
    if not await store.list(path, tx):
        await store.rm(path, tx)


@asynccontextmanager
async def alone(lock: Path) -> AsyncIterator[None]:
    """Hold an exclusive lock between processes.  Waits without blocking; it ends with the process, too."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while not _is_taken(descriptor):  # noqa: ASYNC110  (a lock between processes tells nobody)
            await asyncio.sleep(LOCK_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
