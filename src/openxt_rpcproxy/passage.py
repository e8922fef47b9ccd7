# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of one message of a conversation: it goes on, changed or not, or is answered here, or dropped.

From the client: its destination is named, the rules are asked, a name it asks for is replaced, and a reply
passes only to an open call.  From the bus: the rules, open calls, and the owner that a client is told.
Reads and writes no stream; what it waits for are rules, and the answer to the client's Hello.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from openxt_bus.codec import DESTINATION, ERROR, ERROR_NAME, REPLY_SERIAL, SIGNATURE, Message, encode
from openxt_bus.framing import FramingError, Header, MessageType, error_reply, first_string, scan
from openxt_core.errors import AccessDenied, OpenxtError
from openxt_core.ids import DOM0, RPC_PROXY_NAME
from openxt_rpcproxy.calls import OpenCalls, TooManyCalls
from openxt_rpcproxy.facts import subject
from openxt_rpcproxy.gate import ALLOW, Gate
from openxt_rpcproxy.loglimit import LogLimit
from openxt_rpcproxy.rewriting import (
    adds_a_match,
    asks_for_an_owner,
    concerns_a_name,
    name_for,
    with_destination,
    with_own_name,
    with_owner,
)
from openxt_rpcproxy.rules.model import Decision, Direction, Source, Verdict

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 30.0
OUR_SERIAL = 0xFFFFFFFF
"""Of messages that we make; the bus's own use a serial of its connection."""

_REPLIES = (MessageType.METHOD_RETURN, MessageType.ERROR)


@dataclass(frozen=True)
class Rewriting:
    """Which messages of a client are changed."""

    request_name: str = ""  # the name it gets for any name it asks for; "" changes nothing
    owner_name: bool = False
    well_known: Callable[[str], str] | None = None  # a unique name → a name it owns, or ""


@dataclass(frozen=True, slots=True)
class Passed:
    """Messages that follow from one; each may be empty."""

    on: bytes = b""  # to the other side
    back: bytes = b""  # to the side it came from


NOTHING = Passed()


class Passage:
    def __init__(
        self, source: Source, gate: Gate | None, rewriting: Rewriting, named: Callable[[str], None]
    ) -> None:
        """`gate`: None checks nothing.  `named` is told the unique name that the bus gave this client."""
        self._source = source
        self._gate = gate
        self._rewriting = rewriting
        self._named = named
        self._calls = OpenCalls()
        self._limit = LogLimit()
        self._hello_serial = 0
        self._has_name = asyncio.Event()
        self._name = ""

    @property
    def is_greeted(self) -> bool:
        """The bus has answered the client's Hello."""
        return self._has_name.is_set()

    # From the client

    async def from_client(self, message: bytes) -> Passed:
        """Raises FramingError for what is no message, or no beginning; then the conversation is over."""
        message, header = self._with_known_destination(message, scan(message))
        decision = await self._decide(message, header, Direction.INCOMING)
        if decision.verdict is Verdict.DENY:
            return _refused(header, decision)
        try:
            self._check_match(message, header)
            message = self._with_allowed_name(message, header)
            on = self._register(message, header)
        except (AccessDenied, TooManyCalls) as error:
            if self._limit.may_log():
                log.warning("DENY domain %d %s: %s", self._source.domid, subject(header), error)
            if self._gate is not None:
                self._gate.note_refusal(message, header, error.text)
            return Passed(back=_error_for(header, error))
        await self._await_name(header)
        return Passed(on=on)

    async def refusal(self, message: bytes) -> bytes:
        """The answer to a call that the rules do not allow; empty when they do."""
        message, header = self._with_known_destination(message, scan(message))
        decision = await self._decide(message, header, Direction.INCOMING)
        return b"" if decision.verdict is Verdict.ALLOW else _refused(header, decision).back

    def _with_known_destination(self, message: bytes, header: Header) -> tuple[bytes, Header]:
        """The destination's well-known name in place of its unique one, so that rules on names match."""
        look_up = self._rewriting.well_known
        if look_up is None or header.type != MessageType.METHOD_CALL or header.destination[:1] != ":":
            return message, header
        name = look_up(header.destination)
        if not name:
            if self._limit.may_log():
                log.warning(
                    "domain %d calls %.80r, which has no name", self._source.domid, header.destination
                )
            return message, header
        message = with_destination(message, name)
        return message, scan(message)

    async def _decide(self, message: bytes, header: Header, direction: Direction) -> Decision:
        if self._gate is None:
            return ALLOW
        return await self._gate.decide(message, header, direction)

    def _with_allowed_name(self, message: bytes, header: Header) -> bytes:
        """Raises AccessDenied when the client may not own any name, or not that one."""
        if not concerns_a_name(header):
            return message
        if self._rewriting.request_name:
            if self._source.uuid is None:
                raise AccessDenied("a client without a uuid owns no name")
            return with_own_name(message, name_for(self._rewriting.request_name, self._source.uuid))
        name = first_string(message, header) or ""
        if self._source.domid != DOM0 and f"{name}.".startswith(f"{RPC_PROXY_NAME}."):
            raise AccessDenied(f"{name:.80} says who guests are; no guest owns it")
        return message

    def _check_match(self, message: bytes, header: Header) -> None:
        """Raises AccessDenied for a match that would show the guest what others say to each other.

        A rule that allows BecomeMonitor is how to let it.
        """
        is_checked = self._gate is not None and self._source.domid != DOM0
        if is_checked and adds_a_match(header) and "eavesdrop" in (first_string(message, header) or ""):
            raise AccessDenied("no guest eavesdrops on the bus")

    def _register(self, message: bytes, header: Header) -> bytes:
        """Note a call, match a reply with one; empty when the message is to be dropped."""
        if header.wants_reply:
            note = ""
            if self._rewriting.owner_name and asks_for_an_owner(header):
                note = first_string(message, header) or ""
            self._calls.client_asks(header.serial, note)
        is_reply = header.type in _REPLIES
        if is_reply and not self._calls.client_answers(header.destination, header.reply_serial):
            return self._dropped(header, Direction.INCOMING)
        return message

    async def _await_name(self, header: Header) -> None:
        """Nothing follows Hello before its answer is known: who asks us about the name gets an answer."""
        if self._has_name.is_set():
            return
        if self._hello_serial == 0:
            if header.member != "Hello" or not header.wants_reply:
                raise FramingError("the first message is not Hello")
            self._hello_serial = header.serial
            return
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            await self._has_name.wait()

    # From the bus

    async def from_bus(self, message: bytes) -> Passed:
        header = scan(message)
        decision = await self._decide(message, header, Direction.OUTGOING)
        if not self._has_name.is_set():
            self._learn_name(message, header)
        if header.type in _REPLIES:
            message = self._answer(message, header)
        if decision.verdict is Verdict.DENY:
            return Passed(back=_bounced(header, AccessDenied("denied by rpc-proxy")))
        if header.wants_reply:
            self._calls.bus_asks(header.sender, header.serial)
        return Passed(on=message)

    def _answer(self, message: bytes, header: Header) -> bytes:
        """An answer to one of the client's calls; empty when there is no such call."""
        if header.destination != self._name and self._name:
            return message  # a monitor's copy of somebody else's answer: the bus gave it the right
        note = self._calls.bus_answers(header.reply_serial)
        if note is None:
            return self._dropped(header, Direction.OUTGOING)
        if note and header.type == MessageType.METHOD_RETURN:
            return with_owner(message, note)
        return message

    def _learn_name(self, message: bytes, header: Header) -> None:
        if header.type == MessageType.METHOD_RETURN and header.reply_serial == self._hello_serial:
            self._name = first_string(message, header) or ""
            self._named(self._name)
            self._has_name.set()

    def _dropped(self, header: Header, direction: Direction) -> bytes:
        if self._limit.may_log():
            log.warning(
                "DROP domain %d %s %s: a reply to serial %d, which awaits none",
                *(self._source.domid, direction, subject(header), header.reply_serial),
            )
        return b""


def _refused(header: Header, decision: Decision) -> Passed:
    why = decision.rule.text if decision.rule else "no rule allows it"
    return Passed(back=_error_for(header, AccessDenied(f"denied by rpc-proxy: {why}")))


def _error_for(header: Header, error: OpenxtError) -> bytes:
    """The client's error reply; empty when it wants none."""
    return error_reply(header, OUR_SERIAL, error.dbus_name, error.text) if header.wants_reply else b""


def _bounced(header: Header, error: OpenxtError) -> bytes:
    """The error reply to somebody on the bus who called the client; empty when none is wanted."""
    if not header.wants_reply or not header.sender:
        return b""
    fields = {
        ERROR_NAME: error.dbus_name,
        REPLY_SERIAL: header.serial,
        DESTINATION: header.sender,
        SIGNATURE: "s",
    }
    return encode(Message(ERROR, OUR_SERIAL, fields, (error.text,)))
