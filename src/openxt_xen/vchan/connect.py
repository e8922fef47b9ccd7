# SPDX-License-Identifier: GPL-2.0-or-later
"""Offer a vchan to another domain and wait until it joins: the side that a client is on."""

import asyncio
import secrets
from collections.abc import Callable

from openxt_core.errors import Unavailable
from openxt_core.ids import DOM0, Domid
from openxt_xen.vchan.offers import NODES
from openxt_xen.vchan.pipe import Streams, streams
from openxt_xen.vchan.ring import Ring
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStore
from openxt_xen.xenstore.wire import Permission

CONNECT_TIMEOUT_S = 15.0  # as a guest's openxt-v4v waits: who listens joins one stream after another
RING_BYTES = 64 * 1024

MakeOffer = Callable[[Domid, str, int], Ring]


async def connect(domid: Domid, port: int, offer: MakeOffer) -> Streams:
    """A stream to a port of that domain.

    `offer` shares the rings and may block.  Raises ConnectionRefusedError when the domain refuses or does not
    join in time, Unavailable when nothing can be offered.
    """
    store = await XenStore.connect()
    folder = paths.own_v4v_offers(domid, port)
    path = f"{folder}/{secrets.token_hex(3)}"
    try:
        await _prepare(store, domid, folder)
        ring = await asyncio.to_thread(offer, domid, path, RING_BYTES)
        try:
            await _until_joined(store, ring, path)
        except TimeoutError:
            ring.close()
            raise ConnectionRefusedError(f"nobody listens on port {port} of domain {domid}") from None
        except BaseException:
            ring.close()
            raise
    finally:
        await store.rm(path)
        store.close()
    return streams(ring, domid)[1]


async def _prepare(store: XenStore, domid: Domid, folder: str) -> None:
    """A domain other than dom0 can see the folder only if we let it."""
    own = await store.read("domid")
    if own is None or not own.isdecimal():
        raise Unavailable("XenStore does not tell which domain this is: the node `domid` is missing")
    if domid != DOM0:
        await store.mkdir(folder)
        await store.set_permissions(folder, [Permission(Domid(int(own)), "n"), Permission(domid, "r")])


async def _until_joined(store: XenStore, ring: Ring, path: str) -> None:
    """Raises ConnectionRefusedError when the offer was removed and nobody had joined, TimeoutError."""
    changed = asyncio.Event()

    def signalled() -> None:
        ring.acknowledge()
        changed.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(ring.fileno(), signalled)
    watch = await store.watch(path, lambda _: changed.set())
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            while not ring.is_joined:
                # asked before the ring is looked at: who joins removes the node afterwards
                is_offered = await store.read(f"{path}/{NODES[0]}") is not None
                if not is_offered and not ring.is_joined:
                    raise ConnectionRefusedError(f"{path} was refused")
                await changed.wait()
                changed.clear()
    finally:
        loop.remove_reader(ring.fileno())
        await watch.close()
