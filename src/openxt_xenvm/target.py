# SPDX-License-Identifier: GPL-2.0-or-later
"""The target of a guest's balloon.  XenStore has it without video memory, everybody else with it.

How much that is was noted when the domain was made; a config may say something else by now.
Source: libxl 4.17, libxl_set_memory_target.
"""

from openxt_core.ids import Domid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStore
from openxt_xenvm.errors import TaskRefused


async def video_kib(store: XenStore, domid: Domid) -> int:
    """What of the guest's memory no balloon counts."""
    return await _number(store, paths.memory(domid, "videoram")) or 0


async def target_kib(store: XenStore, domid: Domid) -> int | None:
    """What the guest shall have now, its video memory included.  None: it was never said."""
    found = await _number(store, paths.memory_target(domid))
    return None if found is None else found + await video_kib(store, domid)


async def set_target_kib(store: XenStore, domid: Domid, kib: int) -> None:
    """Raises TaskRefused when its nodes are being removed: the domain's folder must not come back by this."""
    path, target = paths.memory_target(domid), str(kib - await video_kib(store, domid))

    async def replace(tx: int) -> None:
        if await store.read(path, tx) is None:
            raise TaskRefused(f"domain {domid} is about to go")
        await store.write(path, target, tx)

    await store.transact(replace)


async def _number(store: XenStore, path: str) -> int | None:
    text = await store.read(path) or ""
    return int(text) if text.isascii() and text.isdecimal() else None
