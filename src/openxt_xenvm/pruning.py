# SPDX-License-Identifier: GPL-2.0-or-later
"""Empty folders of XenStore that many monitors fill: removed by one at a time.

A folder is removed in the transaction that has found it empty, so that nothing is lost which somebody puts
there meanwhile.  But C xenstored (4.17) takes it for a damaged store if the folder itself has gone by then:
it answers EIO and walks the whole store, deleting what seems to hang in the air.  Therefore the lock.
"""

import logging
from functools import partial
from pathlib import Path

from openxt_xen.xenstore.client import XenStore, XenStoreError
from openxt_xenvm.locks import alone

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""Whoever else fills a folder disturbs once: it is not empty then.  Only a guest may go on, in its own."""


async def prune(store: XenStore, lock: Path, path: str, *, up_to: str) -> None:
    """Remove a directory if it is empty, and then those above it that are, below `up_to`.

    One that somebody changes all the time stays.
    """
    while path.startswith(f"{up_to}/") and not await store.list(path):
        try:
            async with alone(lock):
                await store.transact(partial(_remove_if_empty, store, path), ATTEMPTS)
        except XenStoreError as error:
            if error.name != "EAGAIN":
                raise
            log.info("%s stays: %s", path, error)
            return
        path = path.rpartition("/")[0]


async def _remove_if_empty(store: XenStore, path: str, tx: int) -> None:
    if not await store.list(path, tx):
        await store.rm(path, tx)
