# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of one message of a conversation: it goes on, changed or not, or is answered here, or dropped.

From the client: its destination is named, the rules are asked, a name it asks for is replaced, and a reply
passes only to an open call.  From the bus: the rules, open calls, and the owner that a client is told.
Reads and writes no stream; what it waits for are rules, and the answer to the client's Hello.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from openxt_bus.codec import DESTINATION, ERROR, ERROR_NAME, REPLY_SERIAL, SIGNATURE, Message, encode
from openxt_bus.framing import (
    FramingError,
    Header,
    MessageType,
    error_reply,
    first_number,
    first_string,
    scan,
)
from openxt_core.errors import AccessDenied, OpenxtError
from openxt_core.ids import DOM0, RPC_PROXY_NAME, Domid
from openxt_rpcproxy.budget import UNLIMITED, Budget, LimitsExceeded, Share
from openxt_rpcproxy.calls import About, BusCalls, ClientCalls, Note
from openxt_rpcproxy.epoch import Epoch
from openxt_rpcproxy.express import Manner, Ticket
from openxt_rpcproxy.facts import header_tells_all, subject
from openxt_rpcproxy.gate import ALLOW, Gate
from openxt_rpcproxy.lane import Judge
from openxt_rpcproxy.passed import Passed
from openxt_rpcproxy.rewriting import (
    adds_a_match,
    asks_for_an_owner,
    concerns_a_name,
    is_for_the_bus,
    name_for,
    removes_a_match,
    with_destination,
    with_own_name,
    with_owner,
)
from openxt_rpcproxy.rules.model import Decision, Direction, Source, Verdict

log = logging.getLogger(__name__)

OUR_SERIAL = 0xFFFFFFFF
"""Of messages that we make; the bus's own use a serial of its connection."""

_REPLIES = (MessageType.METHOD_RETURN, MessageType.ERROR)
_OWNED = (1, 2, 4)
"""Answers to RequestName: the name is owned, or waited for."""


@dataclass(frozen=True)
class Rewriting:
    """Which messages of a client are changed."""

    request_name: str = ""  # the name it gets for any name it asks for; "" changes nothing
    owner_name: bool = False
    well_known: Callable[[str], str] | None = None  # a unique name → a name it owns, or ""


class Passage:
    __slots__ = (
        "_asked", "_calls", "_epoch", "_gate", "_has_name", "_hello_serial", "_limit", "_name", "_named",
        "_rewriting", "_share", "_source", "greeted",
    )  # fmt: skip

    def __init__(
        self,
        source: Source,
        gate: Gate | None,
        rewriting: Rewriting,
        named: Callable[[str], None],
        share: Share | None = None,
    ) -> None:
        """`gate`: None checks nothing.  `named` is told the unique name that the bus gave this client."""
        self._source = source
        self._gate = gate
        self._rewriting = rewriting
        self._named = named
        self._share = share or Share(Budget(UNLIMITED))
        self._calls = ClientCalls(self._share)
        self._asked = BusCalls()
        self._limit = self._share.budget.lines
        self._hello_serial = 0
        self._has_name = asyncio.Event()
        self.greeted: Callable[[], None] = lambda: None
        """Called when the bus has answered the client's Hello."""
        self._name = ""
        self._epoch = gate.epoch if gate else Epoch()

    @property
    def is_greeted(self) -> bool:
        """The bus has answered the client's Hello."""
        return bool(self._name)

    @property
    def domid(self) -> Domid:
        """The client's domain."""
        return self._source.domid

    @property
    def name(self) -> str:
        """The client's on the bus; "" before it is greeted."""
        return self._name

    @property
    def keeps_verdicts(self) -> bool:
        """No rule looks at arguments, and nobody wants to see each message."""
        gate = self._gate
        return gate is None or not (gate.tells_of_allowed or gate.looks_at_arguments)

    def incoming(self) -> Judge:
        return Judge(self._epoch, self.from_client, self._too_large_from_client, self._calls, self._asked)

    def outgoing(self) -> Judge:
        return Judge(self._epoch, self.from_bus, self._too_large_from_bus, self._asked, self._calls)

    async def prepare(self, message: bytes, direction: Direction) -> None:
        """Read what must be known before the message, which was taken for one, can be judged."""
        header = scan(message)
        if direction is Direction.INCOMING:
            if header.serial != self._hello_serial:
                await self._has_name.wait()
            message, header = self._with_known_destination(message, header)
        if self._gate is not None:
            await self._gate.prepare(message, header, direction)

    # From the client

    def from_client(self, message: bytes) -> Passed | None:
        """None when something must be read, or the bus's answer to Hello must come, before it can be told.

        Raises FramingError for what is no message, or no beginning; then the conversation is over.
        """
        header = scan(message)
        self._greet(header)
        if self._hello_serial and not self._name and header.serial != self._hello_serial:
            return None
        original = message
        message, header = self._with_known_destination(message, header)
        decision = self._decide(message, header, Direction.INCOMING)
        if decision is None:
            return None
        if decision.verdict is Verdict.DENY:
            return _refused(header, decision)
        try:
            self._check_match(message, header)
            message, note = self._with_allowed_name(message, header)
            on = self._register(message, header, note or self._note(message, header))
        except (AccessDenied, LimitsExceeded) as error:
            if self._gate is not None:
                self._gate.note_refusal(message, header, error.text)
            if isinstance(error, LimitsExceeded):
                return self._over_limit(header, error)
            return self._denied(header, error)
        return Passed(on=on, ticket=self._incoming_ticket(header) if on is original else None)

    async def refusal(self, message: bytes) -> bytes:
        """The answer to a call that the rules do not allow; empty when they do."""
        message, header = self._with_known_destination(message, scan(message))
        while (decision := self._decide(message, header, Direction.INCOMING)) is None:
            await self.prepare(message, Direction.INCOMING)
        return b"" if decision.verdict is Verdict.ALLOW else _refused(header, decision).back

    def _greet(self, header: Header) -> None:
        """Nothing follows Hello before its answer is known: who asks us about the name gets an answer."""
        if not self._hello_serial:
            if header.member != "Hello" or not header.wants_reply:
                raise FramingError("the first message is not Hello")
            self._hello_serial = header.serial
        elif self._name and header.member == "Hello" and is_for_the_bus(header):
            self._complain("hello", "Hello once more, which the bus refuses")

    def _complain(self, what: str, text: str) -> None:
        if self._share.budget.may_complain(what):
            log.warning("LIMIT domain %d: %s", self._source.domid, text)

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

    def _decide(self, message: bytes, header: Header, direction: Direction) -> Decision | None:
        if self._gate is None:
            return ALLOW
        return self._gate.decide(message, header, direction)

    def _with_allowed_name(self, message: bytes, header: Header) -> tuple[bytes, Note | None]:
        """Raises AccessDenied when the client may not own any name, or not that one; LimitsExceeded."""
        if not concerns_a_name(header):
            return message, None
        if self._rewriting.request_name:
            if self._source.uuid is None:
                raise AccessDenied("a client without a uuid owns no name")
            name = name_for(self._rewriting.request_name, self._source.uuid)
            message = with_own_name(message, name)
        else:
            name = first_string(message, header) or ""
        if self._source.domid != DOM0 and f"{name}.".startswith(f"{RPC_PROXY_NAME}."):
            raise AccessDenied(f"{name:.80} says who guests are; no guest owns it")
        if header.member == "ReleaseName":
            return message, Note(About.UNNAME, name)
        self._share.add_name(name)
        return message, Note(About.NAME, name)

    def _check_match(self, message: bytes, header: Header) -> None:
        """Raises AccessDenied for a match that would show the guest what others say to each other.

        A rule that allows BecomeMonitor is how to let it.
        """
        is_checked = self._gate is not None and self._source.domid != DOM0
        if is_checked and adds_a_match(header) and "eavesdrop" in (first_string(message, header) or ""):
            raise AccessDenied("no guest eavesdrops on the bus")

    def _note(self, message: bytes, header: Header) -> Note | None:
        """What the answer to this call will change.  Raises LimitsExceeded."""
        if adds_a_match(header):
            self._share.add_match()
            return Note(About.MATCH)
        if removes_a_match(header):
            return Note(About.UNMATCH)
        if self._rewriting.owner_name and asks_for_an_owner(header):
            return Note(About.OWNER, first_string(message, header) or "")
        return None

    def _register(self, message: bytes, header: Header, note: Note | None) -> bytes:
        """Note a call, match a reply with one; empty when the message is to be dropped."""
        if header.wants_reply:
            try:
                self._calls.ask(header.serial, note)
            except LimitsExceeded:
                self._undo(note)
                raise
        is_reply = header.type in _REPLIES
        if is_reply and not self._asked.may_answer(header.destination, header.reply_serial):
            return self._dropped(header, Direction.INCOMING)
        return message

    def _incoming_ticket(self, header: Header) -> Ticket | None:
        """None for what must be looked at each time: calls of the bus itself, and whose bodies matter."""
        if not self._header_decides(header) or is_for_the_bus(header):
            return None
        if self._rewriting.well_known and header.destination[:1] == ":":
            return None
        return _ticket(header, header.destination)

    def _too_large_from_client(self, header: Header, size: int) -> Passed:
        if not self.is_greeted:
            raise FramingError("the first message is not Hello")
        if self._share.budget.may_complain("message_bytes"):
            log.warning("LIMIT domain %d %s: %d bytes", self._source.domid, subject(header), size)
        return Passed(back=_error_for(header, LimitsExceeded(f"a message of {size} bytes")))

    def _denied(self, header: Header, error: AccessDenied) -> Passed:
        if self._limit.may_log():
            log.warning("DENY domain %d %s: %s", self._source.domid, subject(header), error)
        return Passed(back=_error_for(header, error))

    def _over_limit(self, header: Header, error: LimitsExceeded) -> Passed:
        if self._share.budget.may_complain(str(error)):
            log.warning("LIMIT domain %d %s: %s", self._source.domid, subject(header), error)
        return Passed(back=_error_for(header, error))

    # From the bus

    def from_bus(self, message: bytes) -> Passed | None:
        """None when something must be read before it can be told."""
        header = scan(message)
        decision = self._decide(message, header, Direction.OUTGOING)
        if decision is None:
            return None
        if not self._name:
            self._learn_name(message, header)
        original = message
        if header.type in _REPLIES:
            message = self._answer(message, header)
        if decision.verdict is Verdict.DENY:
            return _withheld(message, header)
        if header.wants_reply:
            self._asked.may_ask(header.sender, header.serial)
        return Passed(on=message, ticket=self._outgoing_ticket(header) if message is original else None)

    def _outgoing_ticket(self, header: Header) -> Ticket | None:
        is_others_answer = header.type in _REPLIES and header.destination != self._name
        if not self._header_decides(header) or is_others_answer or not self._name:
            return None
        return _ticket(header, header.sender)

    def _header_decides(self, header: Header) -> bool:
        """Whether a verdict needs no more than the header."""
        return self.keeps_verdicts and header_tells_all(header)

    def _answer(self, message: bytes, header: Header) -> bytes:
        """An answer to one of the client's calls; empty when there is no such call."""
        if header.destination != self._name and self._name:
            return message  # a monitor's copy of somebody else's answer: the bus gave it the right
        is_open, note = self._calls.answer(header.reply_serial)
        if not is_open:
            return self._dropped(header, Direction.OUTGOING)
        return self._noted(message, header, note) if note else message

    def _noted(self, message: bytes, header: Header, note: Note) -> bytes:
        is_good = header.type == MessageType.METHOD_RETURN
        if note.about is About.OWNER and is_good:
            return with_owner(message, note.name)
        if note.about is About.UNMATCH and is_good:
            self._share.remove_match()
        if note.about is About.UNNAME and is_good:
            self._share.remove_name(note.name)
        if not is_good or (note.about is About.NAME and first_number(message, header) not in _OWNED):
            self._undo(note)
        return message

    def _undo(self, note: Note | None) -> None:
        """What was counted for a call that failed."""
        if note and note.about is About.MATCH:
            self._share.remove_match()
        if note and note.about is About.NAME:
            self._share.remove_name(note.name)

    def _learn_name(self, message: bytes, header: Header) -> None:
        if header.type == MessageType.METHOD_RETURN and header.reply_serial == self._hello_serial:
            self._name = first_string(message, header) or ""
        if self._name:
            self._named(self._name)
            self._has_name.set()
            self.greeted()

    def _too_large_from_bus(self, header: Header, size: int) -> Passed:
        """The sender of a call is told, or the client whose call this would have answered."""
        error = LimitsExceeded(f"a message of {size} bytes")
        on = b""
        is_answer = header.type in _REPLIES and header.destination == self._name
        if is_answer and self._calls.answer(header.reply_serial)[0]:
            on = error_reply(
                replace(header, serial=header.reply_serial), OUR_SERIAL, error.dbus_name, error.text
            )
        if self._share.budget.may_complain("message_bytes"):
            log.warning("LIMIT domain %d %s, from the bus: %s", self._source.domid, subject(header), error)
        return Passed(on=on, back=_bounced(header, error))

    def _dropped(self, header: Header, direction: Direction) -> bytes:
        if self._limit.may_log():
            log.warning(
                "DROP domain %d %s %s: a reply to serial %d, which awaits none",
                *(self._source.domid, direction, subject(header), header.reply_serial),
            )
        return b""


def _ticket(header: Header, peer: str) -> Ticket:
    if header.type in _REPLIES:
        return Ticket(Manner.ANSWERS, peer)
    return Ticket(Manner.ASKS if header.wants_reply else Manner.PASSES, peer)


def _refused(header: Header, decision: Decision) -> Passed:
    why = decision.rule.text if decision.rule else "no rule allows it"
    return Passed(back=_error_for(header, AccessDenied(f"denied by rpc-proxy: {why}")))


def _error_for(header: Header, error: OpenxtError) -> bytes:
    """The client's error reply; empty when it wants none."""
    return error_reply(header, OUR_SERIAL, error.dbus_name, error.text) if header.wants_reply else b""


def _withheld(message: bytes, header: Header) -> Passed:
    """The client does not get this, but if it waits for it, an error; `message` is empty if it does not."""
    error = AccessDenied("denied by rpc-proxy")
    if header.type in _REPLIES:
        return Passed(on=_instead(header, error) if message else b"")
    return Passed(back=_bounced(header, error))


def _instead(answer: Header, error: OpenxtError) -> bytes:
    """To the client, in place of an answer of the bus."""
    return error_reply(replace(answer, serial=answer.reply_serial), OUR_SERIAL, error.dbus_name, error.text)


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
