# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer that speaks JSON: each of its texts becomes a D-Bus message or gets an error answer.

Types that the peer does not give come from our tables; an object is introspected only for a call that the
rules allow.  An answer of the peer names the request by id, so what was asked is kept until then.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from openxt_bus.codec import (
    CALL,
    DESTINATION,
    ERROR,
    ERROR_NAME,
    INTERFACE,
    MEMBER,
    PATH,
    REPLY_SERIAL,
    RETURN,
    SENDER,
    SIGNAL,
    SIGNATURE,
    CodecError,
    Message,
    decode,
)
from openxt_bus.framing import NO_REPLY_EXPECTED
from openxt_bus.loglimit import LogLimit
from openxt_bus.transport.base import Stream
from openxt_core.errors import InvalidArgs
from openxt_rpcproxy.calls import MAX_ASKED
from openxt_rpcproxy.json_express import Answers, Requests
from openxt_rpcproxy.json_form import MAX_ID, Incoming, JsonError, error_text, message, question, read, write
from openxt_rpcproxy.passage import OUR_SERIAL
from openxt_rpcproxy.signatures import InterfaceTables, Introspection
from openxt_rpcproxy.texts import Texts

log = logging.getLogger(__name__)

Refusal = Callable[[bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request to the client that awaits its answer."""

    sender: str
    serial: int
    interface: str
    member: str


@dataclass(frozen=True)
class Finder:
    """Who tells the types of a call that no table describes."""

    introspection: Introspection
    refusal: Refusal
    """Gives the error reply to a call that the rules do not allow, else nothing."""


class JsonDialect:
    def __init__(
        self, texts: Texts, tables: InterfaceTables, finder: Finder | None, us: Callable[[], str] = str
    ) -> None:
        """`finder`: None where types are guessed.  `us`: the bus name that the peer's answers are for."""
        self._texts = texts
        self._tables = tables
        self._finder = finder
        self._us = us
        self._asked: dict[int, _Asked] = {}
        self._limit = LogLimit()
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._unknown: Incoming | None = None
        self._found = b""
        self._requests = Requests()
        self._answers = Answers()

    @property
    def is_waiting(self) -> bool:
        return self._unknown is not None

    @property
    def is_over(self) -> bool:
        return self._texts.is_over

    @property
    def held_bytes(self) -> int:
        return self._texts.held_bytes + self._queued

    async def begin(self, stream: Stream) -> None:
        await self._texts.begin(stream)

    # From the peer

    def feed(self, data: bytes) -> bytes:
        """A text that waits for types holds up those that follow: they keep their order."""
        texts = self._texts.feed(data)
        messages = [self._found]
        self._found = b""
        if not self._queue and self._unknown is None:
            known = self._requests.messages(texts)
            if len(known) == len(texts):
                return b"".join(messages + known)
            messages += known
            texts = texts[len(known) :]
        self._queue += texts
        self._queued += sum(map(len, texts))
        while self._queue and self._unknown is None:
            text = self._queue.popleft()
            self._queued -= len(text)
            messages.append(self._read(text))
        return b"".join(messages)

    def take(self) -> bytes:
        return self._texts.take()

    async def settle(self) -> None:
        """Ask the object that is called for its types, if the rules allow the call."""
        incoming = self._unknown
        if incoming is not None:
            try:
                self._found = await self._introspected(incoming)
            except InvalidArgs as error:
                self._complain(incoming.serial, error)
            self._unknown = None

    def _read(self, text: bytes) -> bytes:
        """The text as a message; empty when it was answered instead, or must wait."""
        known = self._requests.messages((text,))
        if known:
            return known[0]
        try:
            incoming = read(text)
        except JsonError as error:
            self._complain(error.id, error, len(text))
            return b""
        try:
            return self._message(incoming)
        except InvalidArgs as error:
            self._complain(incoming.serial, error, len(text))
            return b""

    def _complain(self, answers: int, error: InvalidArgs, size: int = 0) -> None:
        if self._limit.may_log():
            log.info("a text of %d bytes is no message: %.200s", size, error)
        self._texts.put((error_text(answers, OUR_SERIAL, error.dbus_name, error.text),))

    def _message(self, incoming: Incoming) -> bytes:
        if incoming.is_answer:
            return self._answer(incoming)
        signature = incoming.signature
        if signature is None:
            signature = self._described(incoming)
            if signature is not None and incoming.kind == CALL:
                self._requests.keep(incoming, signature)
        if signature is None and incoming.kind == CALL and self._finder is not None:
            self._unknown = incoming
            return b""
        return message(incoming, signature)

    async def _introspected(self, incoming: Incoming) -> bytes:
        """Raises InvalidArgs.  Empty when it was refused."""
        assert self._finder is not None
        refused = await self._finder.refusal(question(incoming))
        if refused:
            self._texts.put(filter(None, (self._text(refused),)))
            return b""
        fields = incoming.fields
        where = fields[DESTINATION], fields[PATH], fields[INTERFACE], fields[MEMBER]
        return message(incoming, await self._finder.introspection.method(*where))

    def _described(self, incoming: Incoming) -> str | None:
        about = (incoming.fields[INTERFACE], incoming.fields[MEMBER])
        return self._tables.method(*about) if incoming.kind == CALL else self._tables.signal(*about)

    def _answer(self, incoming: Incoming) -> bytes:
        """The client's answer, to who asked.  One that cannot be sent becomes an error: somebody waits."""
        asked = self._asked.pop(incoming.answers, None)
        if asked is None:
            raise InvalidArgs(f"there is no request {incoming.answers} that awaits an answer")
        to = {REPLY_SERIAL: asked.serial, DESTINATION: asked.sender or self._us()}
        signature = incoming.signature
        if signature is None:
            is_return = incoming.kind == RETURN
            signature = self._tables.answer(asked.interface, asked.member) if is_return else None
        try:
            return message(incoming, signature, to)
        except InvalidArgs as error:
            fields = {ERROR_NAME: error.dbus_name}
            text = f"the client's answer cannot be sent: {error}"
            return message(Incoming(ERROR, incoming.serial, fields, [text]), "s", to)

    # To the peer

    def send(self, messages: bytes) -> bytes:
        self._texts.put(filter(None, self._answers.texts(messages, self._text)))
        return self._texts.take()

    def _text(self, data: bytes) -> bytes:
        """Empty for what JSON has no words for."""
        try:
            parsed = decode(data)
        except CodecError as error:
            log.warning("passed over a message of %d bytes that cannot be read: %s", len(data), error)
            return b""
        if parsed.type not in (CALL, RETURN, ERROR, SIGNAL):
            return b""
        if parsed.type == RETURN:
            self._answers.keep(data, parsed.fields.get(SIGNATURE, ""))
        return write(parsed, self._id(parsed))

    def end(self) -> bytes:
        self._texts.end()
        return self._texts.take()

    def _id(self, parsed: Message) -> int:
        """The serial, or for a request another number if the serial stands for somebody else's request."""
        if parsed.type != CALL:
            return parsed.serial
        number = parsed.serial
        while number in self._asked:
            number = number % MAX_ID + 1
        if parsed.flags & NO_REPLY_EXPECTED:
            return number
        if len(self._asked) >= MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        fields = parsed.fields
        self._asked[number] = _Asked(
            fields.get(SENDER, ""), parsed.serial, fields.get(INTERFACE, ""), fields.get(MEMBER, "")
        )
        return number
