# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection to the message bus: calls out, calls in, signals, names.

Every call ends: with an answer, an error, a time-out, or when the bus is lost.  What a call in means is
`export`'s business; what a signal means is the subscriber's.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import AuthError, InvalidAddressError

from openxt_bus import message as codec
from openxt_bus.export import Answer, ObjectTree
from openxt_bus.matching import BUS_NAME, Match, Signal
from openxt_core.errors import BadRequest, InvalidArgs, OpenxtError, Refused, RemoteError, Unavailable
from openxt_core.places import DEFAULT_SYSTEM_BUS
from openxt_core.spec import Value

__all__ = ["Bus", "Match", "Signal", "Subscription"]

log = logging.getLogger(__name__)

BUS_PATH = "/org/freedesktop/DBus"
CONNECT_TIMEOUT_S = 25.0
RETRY_ATTEMPTS = 5
RETRY_PAUSE_S = 1.0

_DO_NOT_QUEUE = 4
_PRIMARY_OWNER, _ALREADY_OWNER = 1, 4
_CALL, _SIGNAL, _ERROR = MessageType.METHOD_CALL, MessageType.SIGNAL, MessageType.ERROR


@dataclass(eq=False)
class Subscription:
    """Keeps a callback informed until it is closed; closing twice is fine."""

    match: Match
    callback: Callable[[Signal], None]
    _bus: "Bus"
    _parts: list["Subscription"] = field(default_factory=list)

    async def close(self) -> None:
        await self._bus._unsubscribe(self)


class Bus:
    """Fulfils `Caller` and `Emitter`.  Make one with `connect`."""

    def __init__(self, raw: MessageBus) -> None:
        assert raw.unique_name is not None
        self.unique_name: str = raw.unique_name
        self._raw = raw
        self._loop = asyncio.get_running_loop()
        self._tree = ObjectTree()
        self._pending: dict[int, asyncio.Future[Sequence[Value]]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._rules: dict[str, int] = {}
        self._rules_lock = asyncio.Lock()
        self._by_member: dict[str, list[Subscription]] = {}
        self._owners: dict[str, str] = {}
        self._lost: asyncio.Future[None] = self._loop.create_future()
        raw.add_message_handler(self._receive)
        self._end = self._loop.create_task(self._follow_end())

    @classmethod
    async def connect(cls, address: str | None = None) -> "Bus":
        """Connect to `address`, else DBUS_SYSTEM_BUS_ADDRESS, else the usual system bus.

        Raises Unavailable.
        """
        where = address or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or DEFAULT_SYSTEM_BUS
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return cls(await MessageBus(bus_address=where).connect())
        except (OSError, EOFError, AuthError, InvalidAddressError, TimeoutError) as error:
            raise Unavailable(f"the message bus at {where} does not answer: {error}") from error

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
        message = codec.method_call(destination, path, interface, member, signature, body)
        serial = message.serial = self._raw.next_serial()
        future: asyncio.Future[Sequence[Value]] = self._loop.create_future()
        self._pending[serial] = future
        timer = self._loop.call_later(timeout_s, _expire, future, f"{destination}.{member}", timeout_s)
        try:
            self._send(message, body)
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
        message = codec.signal(path, interface, member, signature, body)
        if not self._lost.done():
            self._send(message, body)

    async def subscribe(self, match: Match, callback: Callable[[Signal], None]) -> Subscription:
        """Call `callback` for each matching signal from now on, in the order they arrive."""
        subscription = Subscription(match, callback, self)
        if match.followed_name:
            subscription._parts.append(await self._follow_owner(match.followed_name))
        async with self._rules_lock:
            if not self._rules.get(match.rule):
                await self._ask_bus("AddMatch", "s", match.rule)
            self._rules[match.rule] = self._rules.get(match.rule, 0) + 1
        self._by_member.setdefault(match.member, []).append(subscription)
        return subscription

    async def _unsubscribe(self, subscription: Subscription) -> None:
        listeners = self._by_member.get(subscription.match.member, [])
        if subscription not in listeners:
            return
        listeners.remove(subscription)
        for part in subscription._parts:
            await part.close()
        async with self._rules_lock:
            rule = subscription.match.rule
            self._rules[rule] -= 1
            if not self._rules[rule]:
                del self._rules[rule]
                if not self._lost.done():
                    await self._ask_bus("RemoveMatch", "s", rule)

    async def watch_name(self, name: str, callback: Callable[[str, str], None]) -> Subscription:
        """Call `callback(old_owner, new_owner)` at each change of owner; "" means none."""
        match = Match(BUS_NAME, "NameOwnerChanged", sender=BUS_NAME, arg0=name)
        return await self.subscribe(match, lambda signal: callback(signal.body[1], signal.body[2]))

    async def _follow_owner(self, name: str) -> Subscription:
        def changed(_old: str, new: str) -> None:
            self._owners[name] = new

        watch = await self.watch_name(name, changed)
        if name not in self._owners:
            owner = await self.name_owner(name)
            self._owners.setdefault(name, owner or "")
        return watch

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

    async def wait_closed(self) -> None:
        """Returns when the bus is lost or `close` was called."""
        await asyncio.shield(self._lost)

    def close(self) -> None:
        """Leave the bus: running handlers are cancelled, pending calls fail."""
        self._raw.disconnect()
        self._lose("the connection was closed")

    # What arrives

    def _receive(self, message: Message) -> bool:
        kind = message.message_type
        if kind is _CALL:
            self._answer(message)
        elif kind is _SIGNAL:
            self._deliver(message)
        else:
            self._settle(message)
        return True

    def _answer(self, request: Message) -> None:
        try:
            signature = request.signature
            body = codec.decode(request.body, signature) if signature else ()
            answer = self._tree.handle(request, body)
            if type(answer) is tuple:
                self._reply(request, answer)
            else:
                self._start(request, answer)  # type: ignore[arg-type]  # not a tuple: an awaitable
        except Exception as error:  # noqa: BLE001  (the dispatcher: every failure is an answer)
            self._reply_error(request, error)

    def _start(self, request: Message, answer: Awaitable[Answer]) -> None:
        task = self._loop.create_task(self._answer_later(request, answer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _answer_later(self, request: Message, answer: Awaitable[Answer]) -> None:
        try:
            self._reply(request, await answer)
        except Exception as error:  # noqa: BLE001  (the dispatcher: every failure is an answer)
            self._reply_error(request, error)

    def _reply(self, request: Message, answer: Answer) -> None:
        if not codec.expects_reply(request) or self._lost.done():
            return
        signature, body = answer
        try:
            self._send(codec.method_return(request, signature, body), body)
        except InvalidArgs as error:
            raise RuntimeError(f"the reply does not fit its type: {error.text}") from error

    def _reply_error(self, request: Message, error: Exception) -> None:
        _log_failure(request, error)
        if codec.expects_reply(request) and not self._lost.done():
            name, text = codec.error_words(error)
            self._send(codec.error_reply(request, name, text), (text,))

    def _settle(self, reply: Message) -> None:
        future = self._pending.get(reply.reply_serial)
        if future is None or future.done():
            return
        if reply.message_type is _ERROR:
            future.set_exception(codec.remote_error(reply))
        else:
            future.set_result(codec.decode(reply.body, reply.signature))

    def _deliver(self, message: Message) -> None:
        listeners = [*self._by_member.get(message.member or "", ()), *self._by_member.get("", ())]
        if not listeners:
            return
        signal = Signal(
            message.sender or "",
            message.path or "",
            message.interface or "",
            message.member or "",
            codec.decode(message.body, message.signature),
        )
        for listener in listeners:
            sender = self._owners.get(listener.match.followed_name, listener.match.sender)
            if listener.match.accepts(signal, sender):
                _tell(listener, signal)

    # The socket

    def _send(self, message: Message, body: Sequence[Value]) -> None:
        if self._lost.done():
            raise Unavailable("the connection to the message bus is lost")
        try:
            sent = self._raw.send(message)
        except codec.UNSENDABLE as error:
            raise codec.explain_unsendable(body, message.signature, error) from error
        if sent.done():
            sent.exception()
        else:
            sent.add_done_callback(_forget)

    async def _follow_end(self) -> None:
        try:
            await self._raw.wait_for_disconnect()  # type: ignore[no-untyped-call]  # dbus-fast's gap
            self._lose("the connection was closed")
        except Exception as error:  # noqa: BLE001  (whatever ended it, it is over)
            self._lose(f"the message bus is gone: {error or type(error).__name__}")

    def _lose(self, why: str) -> None:
        if self._lost.done():
            return
        self._lost.set_result(None)
        for future in self._pending.values():
            if not future.done():
                future.set_exception(Unavailable(why))
        for task in self._running:
            task.cancel()


def _expire(future: asyncio.Future[Sequence[Value]], what: str, timeout_s: float) -> None:
    if not future.done():
        future.set_exception(Unavailable(f"{what} did not answer within {timeout_s:g} s"))


def _forget(sent: asyncio.Future[Any]) -> None:
    if not sent.cancelled():
        sent.exception()  # a lost bus is noticed by the reader, for all calls at once


def _tell(listener: Subscription, signal: Signal) -> None:
    try:
        listener.callback(signal)
    except Exception:
        log.exception("a listener for %s.%s failed", signal.interface, signal.member)


def _log_failure(request: Message, error: Exception) -> None:
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
