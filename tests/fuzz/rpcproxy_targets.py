# SPDX-License-Identifier: GPL-2.0-or-later
"""What any bytes of a guest may do to rpc-proxy: nothing but what is told here.

Each target takes bytes and raises for a broken promise only.  Driven by hypothesis (`test_fuzz_rpcproxy`)
and, guided by coverage, by atheris (`fuzz_rpcproxy`).
"""

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

from dbus_fast._private.unmarshaller import Unmarshaller
from naive_rules import Domain, Said, verdict

from openxt_bus.codec import CodecError, decode
from openxt_bus.framing import FramingError, Header, cut, scan
from openxt_core.errors import BadRequest, InvalidArgs
from openxt_core.ids import Domid, Uuid
from openxt_rpcproxy.auth import MAX_LINE, AuthError, ClientAuth
from openxt_rpcproxy.epoch import Epoch
from openxt_rpcproxy.express import Manner, Ticket
from openxt_rpcproxy.gate import Gate
from openxt_rpcproxy.json_express import Requests
from openxt_rpcproxy.json_form import message, question, read, write
from openxt_rpcproxy.lane import Judge, Lane
from openxt_rpcproxy.passed import Passed
from openxt_rpcproxy.rules.grammar import parse_rule, parse_rules
from openxt_rpcproxy.rules.lint import lint
from openxt_rpcproxy.rules.model import Direction, Rule, Source, Verdict
from openxt_rpcproxy.websocket import MAX_HANDSHAKE, MAX_TEXT, Admission, WebSocket

MAX_SIZE = 4096
GUID = "0123456789abcdef0123456789abcdef"


def pieces(data: bytes) -> Iterator[bytes]:
    """The same bytes, cut where they themselves say."""
    at = 0
    while at < len(data):
        size = 1 + data[at] % 23
        yield data[at : at + size]
        at += size


def sasl(data: bytes) -> None:
    """Nobody gets in without being accepted; answers are lines; little is kept."""
    auth, accepted = ClientAuth(is_dom0=data[:1] == b"\1"), False
    answers = b""
    try:
        for piece in pieces(b"\0" + data):
            answers += auth.feed(piece)
            while auth.wants_guid:
                accepted = True
                answers += auth.accept(GUID) + auth.proceed()
            assert len(auth.rest()) < MAX_LINE + len(piece)
            if auth.done:
                break
    except AuthError:
        pass
    assert accepted or not auth.done
    for line in answers.split(b"\r\n")[:-1]:
        assert line.split(b" ")[0] in (b"OK", b"DATA", b"ERROR", b"REJECTED")


def framing(data: bytes) -> None:
    """What passes is what came, up to the first byte that is no message, however the stream is cut."""
    whole, error = _passed([data])
    cut_up, cut_error = _passed(list(pieces(data)))
    assert (whole, error) == (cut_up, cut_error)
    assert data.startswith(whole)


class Out(bytearray):
    """What went on."""

    def send(self, data: Any, /) -> None:
        self += data


class AnyCalls:
    """Every call may be made, none is answered."""

    def may_ask(self, peer: str, serial: int) -> bool:
        return True

    def may_answer(self, peer: str, reply_serial: int) -> bool:
        return False

    def may_ask_all(self, peer: str, serials: list[int]) -> bool:
        return True

    def may_answer_all(self, peer: str, reply_serials: list[int]) -> bool:
        return False


def _passed(stream: list[bytes]) -> tuple[bytes, bool]:
    out = Out()

    def judge(raw: bytes) -> Passed:
        header = scan(raw)
        is_answer = header.type in (2, 3)
        return Passed(on=raw, ticket=None if is_answer else Ticket(Manner.PASSES, header.destination))

    def too_large(header: Header, size: int) -> Passed:
        raise FramingError(f"{size} bytes")

    calls = AnyCalls()
    lane = Lane(Judge(Epoch(), judge, too_large, calls, calls), out, lambda back: None, MAX_SIZE)
    try:
        for data in stream:
            lane.feed(data)
            while lane.is_tired:
                lane.go_on()
            assert lane.held_bytes <= MAX_SIZE + len(data) + (64 << 10)
    except FramingError:
        return bytes(_whole(b"".join(stream))), True
    return bytes(out), False


def _whole(data: bytes) -> bytes:
    """The messages that can be read at the front of it."""
    buffer, found = bytearray(data), b""
    try:
        for one in cut(buffer, MAX_SIZE):
            scan(one)
            found += one
    except FramingError:
        pass
    return found


def rules(data: bytes) -> None:
    """Any text is rules, or an error that says where; what was read says itself again."""
    try:
        found = parse_rules(data.decode("utf-8", "replace"), "fuzz")
    except BadRequest:
        return
    for rule in found:
        assert parse_rule(rule.text, rule.origin) == rule
    lint(found[:8], {})


def texts(data: bytes) -> None:
    """A JSON text is a message that a bus takes, or gets an error answer."""
    size = data[0] % 8 if data else 0
    signature = data[1 : 1 + size].decode("latin-1") if size else None
    try:
        incoming = read(data[1 + size :])
        asked = scan(question(incoming))
        raw = message(incoming, signature)
    except InvalidArgs:
        return
    header = scan(raw)
    assert (header.destination, header.member) == (asked.destination, asked.member)
    assert json.loads(write(decode(raw), 7))["id"] == 7


def quick_texts(data: bytes) -> None:
    """A request like an earlier one becomes what it would become the slow way, or goes that way."""
    signature = "s" * (1 + data[0] % 3 if data else 1)
    requests = Requests()
    first = _ALIKE[0] + b",".join([b'"x"'] * len(signature)) + _ALIKE[1]
    requests.keep(read(first), signature)
    assert requests.messages([first])
    for text in data[1:].split(b"\n"):
        for quick in requests.messages([text]):
            incoming = read(text)
            assert quick == message(incoming, incoming.signature or signature)


_ALIKE = (b'{"id":1,"destination":"a.A","method":"m","path":"/p","interface":"i.I","args":[', b"]}")

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def websocket(data: bytes) -> None:
    """Frames give the same texts however they are cut; what is wrong ends it; little is kept.

    A wrong frame that comes whole may be told apart before one that came in part.
    """
    head = b"" if data[:1] == b"G" else HANDSHAKE
    at_once, whole = _texts([head + data])
    cut_up, parts = _texts([head, *pieces(data)])
    assert at_once == cut_up
    assert whole.is_over or not parts.is_over
    if parts.is_over:
        assert _frames(whole.take()) == _frames(parts.take())


def _frames(out: bytes) -> bytes:
    """Without the answer to the handshake, which tells the time."""
    return out.partition(b"\r\n\r\n")[2]


def _texts(stream: list[bytes]) -> tuple[list[bytes], WebSocket]:
    socket, found = WebSocket(Admission()), list[bytes]()
    for data in stream:
        found += socket.feed(data)
        assert socket.held_bytes <= MAX_TEXT + MAX_HANDSHAKE + len(data)
    assert all(len(text) <= MAX_TEXT for text in found)
    return found, socket


RULES = [
    "deny all",
    "allow destination a.A",
    "allow interface i.I member m",
    "deny interface i.I property memory",
    "allow path /x/* arg0 i.I",
    "deny member n",
    "allow inc-signal interface i.I",
    "allow inc-error",
    "allow property name",
    "deny arg0 text destination a.B",
]


class _NoVms:
    def known(self, uuid: Uuid | None) -> dict[str, Any]:
        return {}

    async def learn(self, uuid: Uuid, name: str) -> None:
        """No rule asks."""


class _Sources:
    """Rules without a file."""

    def __init__(self, found: tuple[Rule, ...]) -> None:
        self._found = found
        self.epoch = Epoch()

    async def rules_for(self, uuid: Uuid | None) -> tuple[Rule, ...]:
        return self._found


def policy(data: bytes) -> None:
    """No message passes that a naive reading of the rules denies, by a decoder that is not ours."""
    chosen = [rule for at, rule in enumerate(RULES) if int.from_bytes(data[:2], "big") >> at & 1]
    sources: Any = _Sources(tuple(parse_rule(rule, "fuzz") for rule in chosen))
    gate = Gate(Source(Domid(7)), sources, _NoVms(), verbose=False)
    buffer = bytearray(data[2:])
    try:
        for raw in cut(buffer, MAX_SIZE):
            header = scan(raw)
            for _ in range(2):
                while (found := gate.decide(raw, header, Direction.INCOMING)) is None:
                    asyncio.run(gate.prepare(raw, header, Direction.INCOMING))
                said = _read_by_others(raw)
                if said is not None and not header.unix_fds:
                    assert found.verdict == verdict(chosen, said, Domain(7)), (chosen, raw)
                if header.unix_fds:
                    assert found.verdict is Verdict.DENY
    except FramingError:
        pass


def _read_by_others(raw: bytes) -> Said | None:
    """The message as dbus-fast and our own full codec both read it; None when either refuses it."""
    try:
        decode(raw)
        found = Unmarshaller(io.BytesIO(raw)).unmarshall()
    except CodecError:
        return None
    except Exception:  # noqa: BLE001  (whatever a library raises for damaged bytes)
        return None
    if found is None:
        return None
    names = ("destination", "interface", "member", "sender", "path")
    fields = {name: getattr(found, name) for name in names if getattr(found, name)}
    codes = [one.token for one in found.signature_tree.types]
    args = [arg if code in "so" else 5 for arg, code in zip(found.body, codes, strict=True)]
    return Said(raw[1], "inc", fields, args)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "sasl": sasl,
    "framing": framing,
    "rules": rules,
    "texts": texts,
    "quick_texts": quick_texts,
    "websocket": websocket,
    "policy": policy,
}


def _message(kind: int, fields: dict[int, str], args: list[str]) -> bytes:
    from openxt_bus.codec import Message, encode

    return encode(Message(kind, 7, {**fields, 8: "s" * len(args)}, args))


_CALL = _message(1, {1: "/x/y", 2: "i.I", 3: "m", 6: "a.A"}, ["i.I"])
_GET = _message(1, {1: "/x", 2: "org.freedesktop.DBus.Properties", 3: "Get", 6: "a.A"}, ["i.I", "memory"])
_SIGNAL = _message(4, {1: "/", 2: "i.I", 3: "n"}, [])
_FRAME = b"\x81\x85\1\2\3\4" + bytes(b ^ m for b, m in zip(b"hello", b"\1\2\3\4\1", strict=True))

# Valid beginnings, from which mutations go far.
SEEDS: dict[str, tuple[bytes, ...]] = {
    "sasl": (
        b"AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nl",
        b"AUTH\r\nAUTH ANONYMOUS\r\nCANCEL\r\nDATA\r\n",
    ),
    "framing": (_CALL + _GET + _SIGNAL, _CALL * 3, _CALL * 6),
    "rules": (
        "\n".join(RULES).encode() + b" # all",
        b"allow out-signal dom-id 7 stubdom true if-boolean x true",
    ),
    "texts": (
        b'\0{"id":7,"destination":"a.A","path":"/","interface":"i.I","method":"m","args":["x",[1],{"a":"b"}]}',
        b'\2sv{"id":7,"type":"signal","path":"/","interface":"i.I","method":"m","args":["x",true]}',
    ),
    "quick_texts": (
        b"\0" + b'"y"'.join(_ALIKE),
        b"\1" + b'"y","z"'.join(_ALIKE) + b"\n" + b'"","\\u00fc"'.join(_ALIKE),
    ),
    "websocket": (
        _FRAME * 2,
        b"\x01\x83\0\0\0\0abc\x80\x83\0\0\0\0abc\x89\x80\0\0\0\0\x88\x82\0\0\0\0\x03\xe8",
    ),
    "policy": (b"\xff\xff" + _CALL + _GET + _SIGNAL, b"\0\xff" + _GET),
}
