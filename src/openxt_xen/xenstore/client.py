# SPDX-License-Identifier: GPL-2.0-or-later
"""XenStore client for asyncio: one connection per process, many calls under way at once.

Each request has its own id; a dispatcher hands replies to their callers and events to their watches.
Does not reconnect: when the connection is lost every pending and later call raises Unavailable and
`closed` is called once.  Talks to a UNIX socket or to the kernel's character device.
"""

import asyncio
import itertools
import logging
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from openxt_core.errors import InvalidArgs, Unavailable
from openxt_core.ids import Domid
from openxt_xen.xenstore import wire
from openxt_xen.xenstore.batch import Batch, Request
from openxt_xen.xenstore.channel import Channel, default_address, open_channel
from openxt_xen.xenstore.wire import Op, Packet, Permission

log = logging.getLogger(__name__)

T = TypeVar("T")
Names = list[str]
Permissions = list[Permission]

CALL_TIMEOUT_S = 30.0
TRANSACTION_ATTEMPTS = 30
MAX_REQ_ID = (1 << 31) - 1
_BACK_OFF_S = 0.001  # doubled at each attempt, to at most 64 times as much


class XenStoreError(Unavailable):
    """XenStore refused a request.  `name` is its word for why: `EACCES`, `EINVAL`, `EAGAIN`, …"""

    def __init__(self, name: str, op: Op, subject: str) -> None:
        super().__init__(f"XenStore {op.name} {subject[:200]!r}: {name}")
        self.name = name


@dataclass(eq=False)
class Watch:
    """A callback for changes of a path and everything below it, until closed."""

    path: str
    token: str
    callback: Callable[[str], None]
    _store: "XenStore"

    async def close(self) -> None:
        """No callback happens after this was called; a lost connection or a second close is fine."""
        await self._store._unwatch(self)


@dataclass(eq=False, slots=True)
class _Answers:
    """To requests that went out together."""

    expected: int
    whole: asyncio.Future[dict[int, Packet]]
    found: dict[int, Packet] = field(default_factory=dict)  # by the id of their request

    def take(self, packet: Packet) -> None:
        self.found[packet.req_id] = packet
        if len(self.found) == self.expected and not self.whole.done():
            self.whole.set_result(self.found)

    def fail(self, why: str) -> None:
        if not self.whole.done():
            self.whole.set_exception(Unavailable(why))


class XenStore:
    """Values are text; what a guest wrote may be anything: check it before use."""

    def __init__(self) -> None:
        self.closed: Callable[[], None] = lambda: None
        self._channel: Channel | None = None
        self._pending: dict[int, _Answers] = {}
        self._req_ids = (n % MAX_REQ_ID + 1 for n in itertools.count())
        self._tokens = itertools.count(1)
        self._watches: dict[str, Watch] = {}
        self._waiters: set[asyncio.Event] = set()

    @classmethod
    async def connect(cls, address: str | None = None) -> "XenStore":
        """`address` is a socket or a device; None: XENSTORED_PATH, else the host's.  Raises Unavailable."""
        store = cls()
        store._channel = await open_channel(
            address or default_address(os.environ), store._received, store._lost
        )
        return store

    def close(self) -> None:
        """Leave; XenStore forgets our watches and transactions.  Pending calls raise Unavailable."""
        if self._channel is not None:
            self._channel.close()
            self._lost(None)

    # Nodes

    async def read(self, path: str, tx: int = 0) -> str | None:
        """The value of a node; None when there is no such node."""
        wire.check_path(path)
        try:
            return wire.to_text(await self._call(Op.READ, wire.terminated([path]), tx, path))
        except XenStoreError as error:
            if error.name == "ENOENT":
                return None
            raise

    async def write(self, path: str, value: str, tx: int = 0) -> None:
        """Set a value; the node and its parents are made as needed."""
        wire.check_path(path)
        await self._call(Op.WRITE, wire.terminated([path]) + value.encode(), tx, path)

    async def mkdir(self, path: str, tx: int = 0) -> None:
        """Make an empty node and its parents, unless it exists."""
        wire.check_path(path)
        await self._call(Op.MKDIR, wire.terminated([path]), tx, path)

    async def rm(self, path: str, tx: int = 0) -> None:
        """Remove a node and all below it.  A missing node is fine."""
        wire.check_path(path)
        try:
            await self._call(Op.RM, wire.terminated([path]), tx, path)
        except XenStoreError as error:
            if error.name != "ENOENT":
                raise

    async def list(self, path: str, tx: int = 0) -> Names:
        """Names of the node's children; empty when it has none or does not exist."""
        wire.check_path(path)
        try:
            return _names(await self._call(Op.DIRECTORY, wire.terminated([path]), tx, path))
        except XenStoreError as error:
            if error.name == "ENOENT":
                return []
            if error.name != "E2BIG":
                raise
        return await self._list_in_parts(path, tx)

    async def _list_in_parts(self, path: str, tx: int) -> Names:
        """A directory that fits no packet.  Starts again when it changed between two parts."""
        listing, seen = b"", b""
        while listing != b"\0" and not listing.endswith(b"\0\0"):
            payload = wire.terminated([path, str(len(listing))])
            generation, _, part = (await self._call(Op.DIRECTORY_PART, payload, tx, path)).partition(b"\0")
            if listing and generation != seen:
                listing = b""
                continue
            listing, seen = listing + part, generation
        return _names(listing[:-1])

    async def get_permissions(self, path: str, tx: int = 0) -> Permissions:
        """First the owner with what others may do, then single domains."""
        wire.check_path(path)
        reply = await self._call(Op.GET_PERMS, wire.terminated([path]), tx, path)
        return [wire.parse_permission(wire.to_text(word)) for word in wire.split_terminated(reply)]

    async def set_permissions(self, path: str, perms: Sequence[Permission], tx: int = 0) -> None:
        """Replace the list.  ENOENT also when the owner's domain does not exist."""
        wire.check_path(path, watch=True)
        if not perms:
            raise InvalidArgs(f"no permissions for {path!r}")
        await self._call(Op.SET_PERMS, wire.terminated([path]) + wire.format_permissions(perms), tx, path)

    # Domains

    async def introduce(self, domid: Domid, gfn: int, port: int) -> None:
        """Tell XenStore of a built domain: its ring's frame and event channel.  Fires @introduceDomain."""
        await self._call(Op.INTRODUCE, wire.terminated([str(domid), str(gfn), str(port)]), 0, str(domid))

    async def release(self, domid: Domid) -> None:
        """Cut a domain off.  XenStoreError ENOENT when it was not introduced."""
        await self._call(Op.RELEASE, wire.terminated([str(domid)]), 0, str(domid))

    async def resume(self, domid: Domid) -> None:
        """Tell XenStore that a domain which had stopped goes on: only then is its next end announced by
        @releaseDomain.  XenStoreError ENOENT when it was not introduced."""
        await self._call(Op.RESUME, wire.terminated([str(domid)]), 0, str(domid))

    async def set_target(self, domid: Domid, target: Domid) -> None:
        """Give a stub domain its target's rights."""
        await self._call(Op.SET_TARGET, wire.terminated([str(domid), str(target)]), 0, str(domid))

    async def is_introduced(self, domid: Domid) -> bool:
        reply = await self._call(Op.IS_DOMAIN_INTRODUCED, wire.terminated([str(domid)]), 0, str(domid))
        return reply.startswith(b"T")

    async def domain_path(self, domid: Domid) -> str:
        reply = await self._call(Op.GET_DOMAIN_PATH, wire.terminated([str(domid)]), 0, str(domid))
        return wire.to_text(reply.rstrip(b"\0"))

    # Transactions

    async def transact(self, body: Callable[[int], Awaitable[T]], attempts: int = TRANSACTION_ATTEMPTS) -> T:
        """Run `body` with a transaction's id and commit; again, after a pause, when others interfered.

        An exception of `body` aborts the transaction.  XenStoreError EAGAIN after `attempts` conflicts.
        """
        for attempt in range(attempts):
            result, committed = await self._attempt(body)
            if committed:
                return result
            await asyncio.sleep(_BACK_OFF_S * 2 ** min(attempt, 6) * random.uniform(0.5, 1.0))  # noqa: S311
        raise XenStoreError("EAGAIN", Op.TRANSACTION_END, f"after {attempts} attempts")

    async def apply(self, batch: Batch) -> None:
        """Carry out all of it in one transaction, or nothing: three round trips, however much it is."""
        await self.transact(partial(self._request_all, batch.requests))

    async def _request_all(self, requests: Sequence[Request], tx: int) -> None:
        for request, reply in zip(requests, await self._call_all(requests, tx), strict=True):
            if reply.op == Op.ERROR:
                error = _refusal(reply, request.op, request.path)
                if not (request.may_lack and error.name == "ENOENT"):
                    raise error

    async def _attempt(self, body: Callable[[int], Awaitable[T]]) -> tuple[T, bool]:
        tx = int(wire.to_text(await self._call(Op.TRANSACTION_START, b"\0", 0, "")).rstrip("\0"))
        try:
            result = await body(tx)
        except BaseException:
            self._abort(tx)
            raise
        try:
            await self._call(Op.TRANSACTION_END, b"T\0", tx, "")
        except XenStoreError as error:
            if error.name == "EAGAIN":
                return result, False
            raise
        return result, True

    def _abort(self, tx: int) -> None:
        """Without waiting for the reply: we may be leaving because of a cancellation."""
        if self._channel is not None:
            self._channel.send(Packet(Op.TRANSACTION_END, b"F\0", next(self._req_ids), tx))

    # Watches

    async def watch(self, path: str, callback: Callable[[str], None]) -> Watch:
        """`callback(changed_path)` at once and after each change of `path` or anything below it.

        `path` may be `@introduceDomain` or `@releaseDomain`.  The callback runs in the event loop and
        must not block; several changes may come as one call.
        """
        wire.check_path(path, watch=True)
        watch = Watch(path, f"w{next(self._tokens)}", callback, self)
        self._watches[watch.token] = watch
        try:
            await self._call(Op.WATCH, wire.terminated([path, watch.token]), 0, path)
        except BaseException:
            self._watches.pop(watch.token, None)
            raise
        return watch

    async def _unwatch(self, watch: Watch) -> None:
        if self._watches.pop(watch.token, None) is None or self._channel is None:
            return
        try:
            await self._call(Op.UNWATCH, wire.terminated([watch.path, watch.token]), 0, watch.path)
        except Unavailable as error:
            log.debug("unwatch: %s", error)

    async def wait_until(
        self, path: str, accept: Callable[[str | None], bool], timeout_s: float
    ) -> str | None:
        """The first value of `path` (None: no such node) that `accept` likes.  TimeoutError."""
        changed = asyncio.Event()
        watch = await self.watch(path, lambda _: changed.set())
        self._waiters.add(changed)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    await self._wait_for_change(changed)
                    value = await self.read(path)
                    if accept(value):
                        return value
        finally:
            self._waiters.discard(changed)
            await watch.close()

    async def _wait_for_change(self, changed: asyncio.Event) -> None:
        await changed.wait()
        changed.clear()
        if self._channel is None:
            raise Unavailable("the connection to XenStore was lost")

    # Packets

    async def _call(self, op: Op, payload: bytes, tx: int, subject: str) -> bytes:
        (packet,) = await self._call_all((Request(op, payload, subject),), tx)
        if packet.op == Op.ERROR:
            raise _refusal(packet, op, subject)
        return packet.payload

    async def _call_all(self, requests: Sequence[Request], tx: int) -> Sequence[Packet]:
        """The answers, refusals too."""
        if self._channel is None:
            raise Unavailable("not connected to XenStore")
        packets = [self._packet(request, tx) for request in requests]
        if not packets:
            return ()
        loop = asyncio.get_running_loop()
        answers = _Answers(len(packets), loop.create_future())
        self._pending.update((packet.req_id, answers) for packet in packets)
        timer = loop.call_later(
            CALL_TIMEOUT_S,
            answers.fail,
            f"XenStore did not answer {requests[-1].op.name} within {CALL_TIMEOUT_S:.0f} s",
        )
        self._channel.send(*packets)
        try:
            found = await answers.whole
            return [found[packet.req_id] for packet in packets]
        finally:
            timer.cancel()
            for packet in packets:
                self._pending.pop(packet.req_id, None)

    def _packet(self, request: Request, tx: int) -> Packet:
        if len(request.payload) > wire.PAYLOAD_MAX:
            what = f"{request.op.name} {request.path[:80]!r}"
            raise InvalidArgs(f"XenStore {what}: longer than {wire.PAYLOAD_MAX} bytes")
        return Packet(request.op, request.payload, next(self._req_ids), tx)

    def _received(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            if packet.op == Op.WATCH_EVENT:
                self._event(packet)
            elif (answers := self._pending.pop(packet.req_id, None)) is not None:
                answers.take(packet)

    def _event(self, packet: Packet) -> None:
        path, _, token = packet.payload.partition(b"\0")
        watch = self._watches.get(wire.to_text(token.removesuffix(b"\0")))
        if watch is None:
            return
        try:
            watch.callback(wire.to_text(path))
        except Exception:  # a dispatcher: one watcher's bug must not deafen the others
            log.exception("the watcher of %s failed", watch.path)

    def _lost(self, error: Exception | None) -> None:
        if self._channel is None:
            return
        self._channel = None
        for answers in self._pending.values():
            answers.fail(f"the connection to XenStore was lost: {error or 'closed'}")
        for changed in self._waiters:
            changed.set()
        self.closed()


def _refusal(packet: Packet, op: Op, subject: str) -> XenStoreError:
    return XenStoreError(wire.to_text(packet.payload.rstrip(b"\0")), op, subject)


def _names(listing: bytes) -> Names:
    return [wire.to_text(name) for name in wire.split_terminated(listing) if name]
