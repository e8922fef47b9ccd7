# SPDX-License-Identifier: GPL-2.0-or-later
"""A client that speaks JSON: each of its texts becomes a D-Bus message or gets an error answer.

Types that the client does not give come from our tables; an object is introspected only for a call that the
rules allow.  An answer of the client names the request by id, so what was asked is kept until then.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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
    CodecError,
    Message,
    decode,
)
from openxt_bus.framing import NO_REPLY_EXPECTED
from openxt_core.errors import InvalidArgs
from openxt_rpcproxy.calls import MAX_OPEN
from openxt_rpcproxy.json_form import MAX_ID, Incoming, JsonError, error_text, message, question, read, write
from openxt_rpcproxy.loglimit import LogLimit
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


class JsonDialect:
    def __init__(
        self, texts: Texts, tables: InterfaceTables, introspection: Introspection, refusal: Refusal
    ) -> None:
        """`refusal` gives the error reply to a call that the rules do not allow, else nothing."""
        self._texts = texts
        self._tables = tables
        self._introspection = introspection
        self._refusal = refusal
        self._asked: dict[int, _Asked] = {}
        self._limit = LogLimit()

    async def begin(self, first: bytes) -> None:
        await self._texts.begin()

    # From the client

    async def batches(self) -> AsyncIterator[Sequence[bytes]]:
        """One at a time: the next text may have to wait for types, and must not hold this one up."""
        async for text in self._texts.receive():
            found = await self._read(text)
            if found:
                yield (found,)

    async def _read(self, text: bytes) -> bytes:
        """The text as a message; empty when it was answered instead."""
        answers = 0
        try:
            incoming = read(text)
            answers = incoming.serial
            return await self._message(incoming)
        except InvalidArgs as error:
            answers = error.id if isinstance(error, JsonError) else answers
            if self._limit.may_log():
                log.info("a text of %d bytes is no message: %.200s", len(text), error)
            await self._texts.send((error_text(answers, OUR_SERIAL, error.dbus_name, error.text),))
            return b""

    async def _message(self, incoming: Incoming) -> bytes:
        if incoming.is_answer:
            return self._answer(incoming)
        signature = incoming.signature
        if signature is None:
            signature = self._described(incoming)
        if signature is None and incoming.kind == CALL:
            refused = await self._refusal(question(incoming))
            if refused:
                await self.send((refused,))
                return b""
            signature = await self._introspected(incoming)
        return message(incoming, signature)

    def _described(self, incoming: Incoming) -> str | None:
        about = (incoming.fields[INTERFACE], incoming.fields[MEMBER])
        return self._tables.method(*about) if incoming.kind == CALL else self._tables.signal(*about)

    async def _introspected(self, incoming: Incoming) -> str | None:
        fields = incoming.fields
        return await self._introspection.method(
            fields[DESTINATION], fields[PATH], fields[INTERFACE], fields[MEMBER]
        )

    def _answer(self, incoming: Incoming) -> bytes:
        """The client's answer, to who asked.  One that cannot be sent becomes an error: somebody waits."""
        asked = self._asked.pop(incoming.answers, None)
        if asked is None:
            raise InvalidArgs(f"there is no request {incoming.answers} that awaits an answer")
        to = {REPLY_SERIAL: asked.serial, DESTINATION: asked.sender}
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

    # From the bus

    async def send(self, messages: Sequence[bytes]) -> None:
        texts = [self._text(message) for message in messages]
        await self._texts.send([text for text in texts if text])

    def _text(self, data: bytes) -> bytes:
        """Empty for what JSON has no words for."""
        try:
            parsed = decode(data)
        except CodecError as error:
            log.warning("passed over a message of %d bytes that cannot be read: %s", len(data), error)
            return b""
        if parsed.type not in (CALL, RETURN, ERROR, SIGNAL):
            return b""
        return write(parsed, self._id(parsed))

    def end(self) -> None:
        self._texts.end()

    def _id(self, parsed: Message) -> int:
        """The serial, or for a request another number if the serial stands for somebody else's request."""
        if parsed.type != CALL:
            return parsed.serial
        number = parsed.serial
        while number in self._asked:
            number = number % MAX_ID + 1
        if parsed.flags & NO_REPLY_EXPECTED:
            return number
        if len(self._asked) >= MAX_OPEN:
            del self._asked[next(iter(self._asked))]
        fields = parsed.fields
        self._asked[number] = _Asked(
            fields.get(SENDER, ""), parsed.serial, fields.get(INTERFACE, ""), fields.get(MEMBER, "")
        )
        return number
