# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection to the message bus: calls out, calls in, signals, names.

Every call ends: with an answer, an error, a time-out, or when the bus is lost.  What a call in means is
`export`'s business; what a signal means is the subscriber's.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence

from dbus_fast import Message, MessageType

from openxt_bus import message as codec
from openxt_bus import wire
from openxt_bus.export import Answer, ObjectTree
from openxt_bus.known_calls import KnownCalls
from openxt_bus.loglimit import LogLimit
from openxt_bus.matching import BUS_NAME, Match, Signal
from openxt_bus.subscriptions import Subscription, Subscriptions
from openxt_core.errors import BadRequest, OpenxtError, Refused, RemoteError, Unavailable
from openxt_core.places import DEFAULT_SYSTEM_BUS
from openxt_core.spec import Call, Value

__all__ = ["Bus", "Match", "Signal", "Subscription"]

log = logging.getLogger(__name__)

BUS_PATH = "/org/freedesktop/DBus"
RETRY_ATTEMPTS = 5
RETRY_PAUSE_S = 1.0

_DO_NOT_QUEUE = 4
_PRIMARY_OWNER, _ALREADY_OWNER = 1, 4
_CALL, _SIGNAL, _ERROR = MessageType.METHOD_CALL, MessageType.SIGNAL, MessageType.ERROR


class Bus:
    """Fulfils `Caller` and `Emitter`.  Make one with `connect`."""

    def __init__(self, sock: socket.socket) -> None:
        self.unique_name = ""
        self._loop = asyncio.get_running_loop()
        self._pending: dict[int, asyncio.Future[Sequence[Value]]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._subscriptions = Subscriptions(self._ask_bus, self.name_owner)
        self._refusals = LogLimit(whose="calls that were refused")  # a guest may make any number of them
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._wire = wire.Wire(sock, self._receive, self._lose)
        self.serve(ObjectTree())

    @classmethod
    async def connect(cls, address: str | None = None) -> "Bus":
        """Connect to `address`, else DBUS_SYSTEM_BUS_ADDRESS, else the usual system bus.

        Raises Unavailable.
        """
        where = address or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or DEFAULT_SYSTEM_BUS
        bus = cls(await wire.connect(where))
        try:
            bus.unique_name = str((await bus._ask_bus("Hello"))[0])
        except BaseException:
            bus.close()
            raise
        return bus

    # Calls out

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Value] = (),
        *,
        timeout_s: float = 25.0,
    ) -> Sequence[Value]:
        """The out arguments.  Raises RemoteError for an error reply, Unavailable when none came."""
        if not self._wire.is_open:
            raise Unavailable(f"{destination}.{member}: the connection to the message bus is lost")
        serial = self._wire.next_serial()
        data = codec.method_call(serial, (destination, path, interface, member), signature, body)
        future: asyncio.Future[Sequence[Value]] = self._loop.create_future()
        self._pending[serial] = future
        timer = self._loop.call_later(timeout_s, _expire, future, f"{destination}.{member}", timeout_s)
        try:
            self._wire.send(data)
            return await future
        finally:
            timer.cancel()
            del self._pending[serial]

    async def call_retrying(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Value] = (),
        *,
        timeout_s: float = 25.0,
    ) -> Sequence[Value]:
        """Like `call`, but while the peer is absent tries 5 times, 1 s apart."""
        for _ in range(RETRY_ATTEMPTS - 1):
            try:
                return await self.call(
                    destination, path, interface, member, signature, body, timeout_s=timeout_s
                )
            except RemoteError as error:
                if not error.is_absent:
                    raise
            await asyncio.sleep(RETRY_PAUSE_S)
        return await self.call(destination, path, interface, member, signature, body, timeout_s=timeout_s)

    async def _ask_bus(self, member: str, signature: str = "", *body: Value) -> Sequence[Value]:
        return await self.call(BUS_NAME, BUS_PATH, BUS_NAME, member, signature, body)

    # Signals

    def emit(
        self, path: str, interface: str, member: str, signature: str = "", body: Sequence[Value] = ()
    ) -> None:
        """Send a signal to whoever listens.  Raises InvalidArgs; a lost bus is nobody to tell."""
        data = codec.signal(self._wire.next_serial(), (path, interface, member), signature, body)
        self._wire.send(data)

    async def subscribe(self, match: Match, callback: Callable[[Signal], None]) -> Subscription:
        """Call `callback` for each matching signal from now on, in the order they arrive."""
        return await self._subscriptions.add(match, callback)

    async def watch_name(self, name: str, callback: Callable[[str, str], None]) -> Subscription:
        """Call `callback(old_owner, new_owner)` at each change of owner; "" means none."""
        return await self._subscriptions.watch_name(name, callback)

    async def follow_name(self, name: str, callback: Callable[[str, str], None]) -> tuple[Subscription, str]:
        """As `watch_name`, and who owns the name when this returns; "" for nobody."""
        return await self._subscriptions.follow_name(name, callback)

    # Names

    async def name_owner(self, name: str) -> str | None:
        """The unique name that owns `name`; None when nobody does."""
        try:
            return str((await self._ask_bus("GetNameOwner", "s", name))[0])
        except RemoteError as error:
            if error.is_absent:
                return None
            raise

    async def request_name(self, name: str) -> bool:
        """Whether this connection owns `name` now; never waits in the queue for it."""
        (reply,) = await self._ask_bus("RequestName", "su", name, _DO_NOT_QUEUE)
        return reply in (_PRIMARY_OWNER, _ALREADY_OWNER)

    async def release_name(self, name: str) -> None:
        await self._ask_bus("ReleaseName", "s", name)

    # Serving

    def serve(self, tree: ObjectTree) -> None:
        """Answer calls from `tree` from now on."""
        self._tree = tree
        self._known = KnownCalls(tree, self._start_known, self._log_failure)
        self._wire.answer_by(self._known.plans)

    async def wait_closed(self) -> None:
        """Returns when the bus is lost or `close` was called."""
        await asyncio.shield(self._closed)

    def close(self) -> None:
        """Leave the bus: running handlers are cancelled, pending calls fail."""
        self._wire.close()

    # What arrives

    def _receive(self, data: bytes) -> None:
        """A message that is no call, or whose like did not come before."""
        try:
            message = codec.parse_message(data)
        except codec.UNREADABLE as error:
            log.warning("passed over a message of %d bytes that cannot be read: %s", len(data), error)
            return
        kind = message.message_type
        if kind is _CALL:
            self._answer(message)
            self._known.remember(data, message)
        elif kind is _SIGNAL:
            self._deliver(message)
        else:
            self._settle(message)

    def _answer(self, request: Message) -> None:
        try:
            signature = request.signature
            body = codec.decode(request.body, signature) if signature else ()
            answer = self._tree.handle(request, body)
            if isinstance(answer, tuple):
                self._reply(request, answer)
            else:
                self._start(request, answer)
        except Exception as error:  # noqa: BLE001  (the dispatcher: every failure is an answer)
            self._reply_error(request, error)

    def _start(self, request: Message, answer: Awaitable[Answer]) -> None:
        task = self._loop.create_task(self._answer_later(request, answer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _start_known(self, data: bytes, answer: Awaitable[Answer]) -> None:
        self._start(codec.parse_message(data), answer)

    async def _answer_later(self, request: Message, answer: Awaitable[Answer]) -> None:
        try:
            self._reply(request, await answer)
        except Exception as error:  # noqa: BLE001  (the dispatcher: every failure is an answer)
            self._reply_error(request, error)

    def _reply(self, request: Message, answer: Answer) -> None:
        if codec.expects_reply(request):
            self._wire.send(codec.method_return(self._wire.next_serial(), request, *answer))

    def _reply_error(self, request: Message, error: Exception) -> None:
        self._log_failure(request, error)
        if codec.expects_reply(request):
            name, text = codec.error_words(error)
            self._wire.send(codec.error_reply(self._wire.next_serial(), request, name, text))

    def _log_failure(self, request: Call | Message, error: Exception) -> None:
        if not isinstance(error, Refused) or self._refusals.may_log():
            _log_failure(request, error)

    def _settle(self, reply: Message) -> None:
        future = self._pending.get(reply.reply_serial)
        if future is None or future.done():
            return
        if reply.message_type is _ERROR:
            future.set_exception(codec.remote_error(reply))
        else:
            future.set_result(codec.decode(reply.body, reply.signature))

    def _deliver(self, message: Message) -> None:
        if not self._subscriptions:
            return
        signal = Signal(
            message.sender or "",
            message.path or "",
            message.interface or "",
            message.member or "",
            codec.decode(message.body, message.signature),
        )
        self._subscriptions.deliver(signal)

    def _lose(self, why: str) -> None:
        self._closed.set_result(None)
        for future in self._pending.values():
            if not future.done():
                future.set_exception(Unavailable(why))
        for task in self._running:
            task.cancel()


def _expire(future: asyncio.Future[Sequence[Value]], what: str, timeout_s: float) -> None:
    if not future.done():
        future.set_exception(Unavailable(f"{what} did not answer within {timeout_s:g} s"))


def _log_failure(request: Call | Message, error: Exception) -> None:
    what = (request.interface, request.member, request.path, request.sender)
    match error:
        case BadRequest() | RemoteError():
            log.debug("%s.%s of %s for %s: %s", *what, error)
        case Refused():
            log.info("%s.%s of %s for %s: %s", *what, error)
        case OpenxtError():
            log.warning("%s.%s of %s for %s: %s", *what, error)
        case _:
            log.error("%s.%s of %s for %s failed", *what, exc_info=error)
