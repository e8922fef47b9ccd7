# SPDX-License-Identifier: GPL-2.0-or-later
"""Listen for vchans in dom0: watch what domains offer on one port, join it, follow their deaths.

A domain can make us join so many rings of so many bytes and no more, and costs others nothing but the time of
one offer at a time.  Does not know what the bytes mean.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from openxt_core.errors import Unavailable
from openxt_core.ids import DOM0, Domid
from openxt_xen.vchan.offers import NODES, Verdict, judge, sound_names
from openxt_xen.vchan.pipe import Pipe, streams
from openxt_xen.vchan.ring import Ring
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import Watch, XenStore

log = logging.getLogger(__name__)

MAX_STREAMS_PER_DOMAIN = 32
MAX_RING_BYTES = 128 * 1024  # a domain's rings take pages of ours to map them
RETRY_S = 1.0

Accept = Callable[[Domid, str], Ring]
OnConnect = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


class VchanServer:
    """Calls `on_connect` for each stream; `writer.get_extra_info("domid")` says whose it is."""

    def __init__(self, port: int, on_connect: OnConnect, accept: Accept) -> None:
        self._port = port
        self._on_connect = on_connect
        self._accept = accept
        self._store: XenStore | None = None
        self._watches: dict[Domid, Watch] = {}
        self._pipes: dict[Domid, set[Pipe]] = {}
        self._complained: set[Domid] = set()
        self._changed: dict[Domid, None] = {}  # whose offers to look at, in turn
        self._domains_changed = False
        self._is_lost = False  # XenStore
        self._is_closed = False
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, port: int, on_connect: OnConnect, accept: Accept) -> "VchanServer":
        """`accept` joins an offer and may block.  Raises Unavailable without XenStore."""
        server = cls(port, on_connect, accept)
        await server._begin()
        server._task = asyncio.get_running_loop().create_task(server._run())
        return server

    def close(self) -> None:
        """Take no further streams; those that are open go on."""
        self._is_closed = True
        self._work.set()

    # What to do next

    async def _begin(self) -> None:
        self._store = store = await XenStore.connect()
        store.closed = self._note_loss
        self._is_lost = False
        self._watches.clear()
        for event in (paths.INTRODUCE_DOMAIN, paths.RELEASE_DOMAIN):
            await store.watch(event, self._note_domains)

    def _note_domains(self, _path: str) -> None:
        self._domains_changed = True
        self._work.set()

    def _note_loss(self) -> None:
        self._is_lost = True
        self._work.set()

    def _note_offer(self, domid: Domid, _path: str) -> None:
        self._changed[domid] = None
        self._work.set()

    async def _run(self) -> None:
        while not self._is_closed:
            try:
                await self._step()
            except Unavailable as error:
                log.warning("port %d: %s; trying again", self._port, error)
                await self._begin_again()
        if self._store is not None:
            self._store.close()

    async def _begin_again(self) -> None:
        """Streams that are open go on meanwhile."""
        assert self._store is not None
        self._store.close()  # says that it was lost
        while self._is_lost and not self._is_closed:
            with suppress(Unavailable):
                await self._begin()
                break
            await asyncio.sleep(RETRY_S)

    async def _step(self) -> None:
        """Deaths before offers, and after each domain the next one's turn."""
        assert self._store is not None
        if self._is_lost:
            raise Unavailable("the connection to XenStore was lost")
        if self._domains_changed:
            self._domains_changed = False
            await self._look_for_domains(self._store)
        elif self._changed:
            domid = next(iter(self._changed))
            del self._changed[domid]
            await self._look_at_offers(self._store, domid)
        else:
            await self._work.wait()
            self._work.clear()

    # Domains

    async def _look_for_domains(self, store: XenStore) -> None:
        names = await store.list(paths.DOMAINS)
        domids = {Domid(int(name)) for name in names if name.isascii() and name.isdigit()}
        for domid in self._watches.keys() - domids:
            self._complained.discard(domid)
            await self._watches.pop(domid).close()
        for domid in domids - self._watches.keys():
            folder = paths.v4v_offers(domid, DOM0, self._port)
            self._watches[domid] = await store.watch(folder, partial(self._note_offer, domid))
        for domid in [domid for domid in self._pipes if domid != DOM0]:
            if not await store.is_introduced(domid):
                self._cut_off(domid)

    def _cut_off(self, domid: Domid) -> None:
        """The domain is dying, and Xen cannot free its pages while we map them."""
        log.info("domain %d is gone: its streams end", domid)
        for pipe in list(self._pipes.get(domid, ())):
            pipe.abort()

    # Offers

    async def _look_at_offers(self, store: XenStore, domid: Domid) -> None:
        folder = paths.v4v_offers(domid, DOM0, self._port)
        for name in sound_names(await store.list(folder)):
            if not self._is_closed:
                await self._look_at(store, domid, f"{folder}/{name}")

    async def _look_at(self, store: XenStore, domid: Domid, path: str) -> None:
        guest_values = [await store.read(f"{path}/{node}") for node in NODES]
        verdict = judge(guest_values)
        if verdict is Verdict.UNFINISHED:
            return
        try:
            ring = await self._joined(domid, path, verdict)
        except Unavailable as error:
            self._complain(domid, error)
            await store.rm(path)
            return
        try:
            await store.rm(path)
        except BaseException:
            ring.close()
            raise
        self._adopt(ring, domid)

    async def _joined(self, domid: Domid, path: str, verdict: Verdict) -> Ring:
        """Raises Unavailable unless the offer is one that we take."""
        if verdict is Verdict.MALFORMED:
            raise Unavailable(f"{path} is no offer of a vchan")
        if len(self._pipes.get(domid, ())) >= MAX_STREAMS_PER_DOMAIN:
            raise Unavailable(f"domain {domid} has {MAX_STREAMS_PER_DOMAIN} streams open")
        ring = await asyncio.to_thread(self._accept, domid, path)
        if ring.size > MAX_RING_BYTES:
            ring.close()
            raise Unavailable(f"{path}: rings of {ring.size} bytes are more than {MAX_RING_BYTES}")
        return ring

    def _complain(self, domid: Domid, error: Unavailable) -> None:
        """Aloud once for each domain: a guest can offer nonsense without end."""
        level = logging.DEBUG if domid in self._complained else logging.WARNING
        log.log(level, "port %d: %s", self._port, error)
        self._complained.add(domid)

    def _adopt(self, ring: Ring, domid: Domid) -> None:
        pipe, (reader, writer) = streams(ring, domid)
        pipes = self._pipes.setdefault(domid, set())
        pipes.add(pipe)

        def ended() -> None:
            pipes.discard(pipe)
            if not pipes:
                self._pipes.pop(domid, None)

        pipe.ended = ended
        self._on_connect(reader, writer)
