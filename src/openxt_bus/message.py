# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus messages between dbus-fast's form and ours; errors between replies and our classes.

Bodies are walked only where the two forms differ (variants) or where a wrong value would make the bus
cut the connection (struct length, object paths, signatures); for everything else the codec itself objects.
No I/O, and nothing here decides anything.
"""

import io
import re
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from dbus_fast import Message, MessageFlag
from dbus_fast import Variant as WireVariant
from dbus_fast._private.marshaller import Marshaller
from dbus_fast._private.unmarshaller import Unmarshaller
from dbus_fast.errors import InternalError
from dbus_fast.signature import SignatureTree, get_signature_tree

from openxt_bus import heads
from openxt_core.errors import InvalidArgs, OpenxtError, RemoteError
from openxt_core.signature import Type, Variant, check_body, parse, single
from openxt_core.spec import Value

FAILED = "org.freedesktop.DBus.Error.Failed"
MAX_BODY = 128 * 1024 * 1024 - 64 * 1024
MAX_NAME = 255
MAX_ERROR_TEXT = 64 * 1024
UNSENDABLE = (
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    OverflowError,
    NotImplementedError,
    struct.error,
    InternalError,
)
"""What the codec raises for a body that does not fit its signature."""

UNREADABLE = (*UNSENDABLE, EOFError, RecursionError)
"""What the codec raises for bytes that are no message."""

Target: TypeAlias = tuple[str, str, str, str]
"""Destination, path, interface (may be empty) and member."""

Source: TypeAlias = tuple[str, str, str]
"""Path, interface and member of a signal."""

_DIFFERING = frozenset("v(og")
_OBJECT_PATH = re.compile(r"/(?:[A-Za-z0-9_]+(?:/[A-Za-z0-9_]+)*)?\Z")
_INTERFACE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+\Z")
_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_BUS_NAME = re.compile(r":[\w-]+(?:\.[\w-]+)+\Z|[A-Za-z_-][\w-]*(?:\.[A-Za-z_-][\w-]*)+\Z", re.ASCII)
_NO_REPLY_EXPECTED = MessageFlag.NO_REPLY_EXPECTED.value
_NO_FLAGS = MessageFlag.NONE

# Of a signal: as `heads.ANSWER`, but type 4, and no field that is another each time.
_SIGNAL_HEADER = struct.Struct("<4I")
_SIGNAL_KIND = int.from_bytes(b"l\x04\x01\x01", "little")


class Marshalled:
    """The body of a reply with one out argument, as it travels: to be made once and sent often."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content


Encoder: TypeAlias = Callable[[Value], Any]


def decode(body: Sequence[Any], signature: str) -> Sequence[Value]:
    """A received body with our variants and structs; the same object where it holds none."""
    if "v" in signature or "(" in signature:
        return [_decoded(value) for value in body]
    return body


def _decoded(value: Any) -> Value:
    if isinstance(value, WireVariant):
        return Variant(value.signature, _decoded(value.value))
    if isinstance(value, list | tuple):
        return [_decoded(item) for item in value]
    if isinstance(value, dict):
        return {key: _decoded(item) for key, item in value.items()}
    return value


def encode(body: Sequence[Value], signature: str) -> list[Any]:
    """A body as the codec wants it.  Raises InvalidArgs where the codec itself would not notice."""
    encoders = _encoders(signature)
    if len(body) != len(encoders):
        raise InvalidArgs(f"{len(encoders)} arguments expected, {len(body)} given")
    if _DIFFERING.isdisjoint(signature):
        return list(body)
    return [encoder(value) if encoder else value for encoder, value in zip(encoders, body, strict=True)]


@lru_cache(maxsize=1024)
def _encoders(signature: str) -> tuple[Encoder | None, ...]:
    return tuple(map(_encoder, parse(signature)))


def _encoder(kind: Type) -> Encoder | None:
    """How to encode a value of `kind`; None when it goes to the codec as it is."""
    if _DIFFERING.isdisjoint(str(kind)):
        return None
    match kind.code:
        case "v":
            return _variant
        case "o":
            return _object_path
        case "g":
            return _signature
        case "(":
            return _struct_encoder(tuple(map(_encoder, kind.children)))
    if kind.is_dict:
        return _dict_encoder(*map(_encoder, kind.children[0].children))
    return _array_encoder(_encoder(kind.children[0]))


def _variant(value: Value) -> WireVariant:
    if not isinstance(value, Variant):
        raise InvalidArgs(f"{value!r:.60} is not a variant")
    kind, encoder = _variant_encoder(value.signature)
    return WireVariant(kind, encoder(value.value) if encoder else value.value, False)


@lru_cache(maxsize=1024)
def _variant_encoder(signature: str) -> tuple[SignatureTree, Encoder | None]:
    return get_signature_tree(signature), _encoder(single(signature))


def _object_path(value: Value) -> str:
    if not is_object_path(value):
        raise InvalidArgs(f"{value!r:.60} is not an object path")
    return str(value)


def is_object_path(value: object) -> bool:
    return isinstance(value, str) and _OBJECT_PATH.match(value) is not None


def _signature(value: Value) -> str:
    parse(value)
    return str(value)


def _struct_encoder(members: tuple[Encoder | None, ...]) -> Encoder:
    def encoded(value: Value) -> list[Any]:
        if not isinstance(value, list | tuple) or len(value) != len(members):
            raise InvalidArgs(f"{value!r:.60} is not a struct of {len(members)}")
        return [member(item) if member else item for member, item in zip(members, value, strict=True)]

    return encoded


def _dict_encoder(key: Encoder | None, item: Encoder | None) -> Encoder:
    def encoded(value: Value) -> dict[Any, Any]:
        return {key(k) if key else k: item(v) if item else v for k, v in value.items()}

    return encoded


def _array_encoder(item: Encoder | None) -> Encoder:
    assert item is not None
    return lambda value: [item(one) for one in value]


def explain_unsendable(body: Sequence[Value], signature: str, error: Exception) -> InvalidArgs:
    """What is wrong with a body that the codec refused."""
    try:
        check_body(body, signature)
    except InvalidArgs as found:
        return found
    return InvalidArgs(f"cannot be sent as {signature!r}: {error}")


def parse_message(data: bytes) -> Message:
    """One complete message.  Raises one of UNREADABLE.

    Only for bytes that came from a bus, which checks bodies before it passes them on: the compiled codec
    is not safe against a variant with an empty signature (seen in dbus-fast 5.2.0: it crashes).
    """
    stream = io.BytesIO(data)
    message = Unmarshaller(stream).unmarshall()  # type: ignore[arg-type]  # it only calls read()
    if message is None:
        raise ValueError("the message is shorter than it says")
    return message


def method_call(serial: int, target: Target, signature: str, body: Sequence[Value]) -> bytes:
    """Raises InvalidArgs for a name, path or body that must not be sent."""
    _check_target(target)
    destination, path, interface, member = target
    return _checked_bytes(
        Message(
            destination=destination,
            path=path,
            interface=interface or None,
            member=member,
            serial=serial,
            validate=False,
        ),
        signature,
        body,
    )


def signal(serial: int, source: Source, signature: str, body: Sequence[Value]) -> bytes:
    """A broadcast signal.  Raises InvalidArgs like `method_call`."""
    size, fields = _signal_fields(source, signature)
    content = _marshalled(signature, body)
    return _SIGNAL_HEADER.pack(_SIGNAL_KIND, len(content), serial, size) + fields + content


@lru_cache(maxsize=1024)
def _signal_fields(source: Source, signature: str) -> tuple[int, bytes]:
    """The header fields of a signal, padded, and their size unpadded.  Raises InvalidArgs."""
    path, interface, member = source
    if not interface:
        raise InvalidArgs(f"the signal {member!r} of {path!r} has no interface")
    _check_target(("a.b", *source))
    names = ((heads.PATH, path), (heads.INTERFACE, interface), (heads.MEMBER, member))
    fields = heads.fields(names, signature)
    return len(fields), heads.padded(fields)


def _marshalled(signature: str, body: Sequence[Value]) -> bytes:
    """Raises InvalidArgs for a body that does not fit."""
    try:
        values = encode(body, signature)
        return bytes(Marshaller(signature, values).marshall()) if signature else b""
    except UNSENDABLE as error:
        raise explain_unsendable(body, signature, error) from error


@lru_cache(maxsize=1024)
def _check_target(target: Target) -> None:
    """The bus cuts the connection for a name that is none, so it must not come so far."""
    destination, path, interface, member = target
    is_valid = (
        _BUS_NAME.match(destination)
        and is_object_path(path)
        and (not interface or _INTERFACE.match(interface))
        and _MEMBER.match(member)
        and max(map(len, (destination, interface, member))) <= MAX_NAME
    )
    if not is_valid:
        raise InvalidArgs(f"cannot be called on the bus: {destination!r} {path!r} {interface!r} {member!r}")


def _checked_bytes(message: Message, signature: str, body: Sequence[Value]) -> bytes:
    try:
        message.body = encode(body, signature)
        message.signature_tree = get_signature_tree(signature)
        message.signature = signature
        return _bytes(message)
    except UNSENDABLE as error:
        raise explain_unsendable(body, signature, error) from error


def _bytes(message: Message) -> bytes:
    return bytes(message._marshall(False))


def method_return(serial: int, request: Message, signature: str, body: Sequence[Value]) -> bytes:
    """The answer to a call, as bytes.  Raises RuntimeError when the body does not fit the signature."""
    marshalled = content(signature, body)
    size, fields = return_fields(request.sender, signature)
    return return_header(len(marshalled), serial, size, request.serial) + fields + marshalled


def content(signature: str, body: Sequence[Value]) -> bytes:
    """A reply's marshalled body.  Raises RuntimeError when it does not fit the signature, or is too long."""
    if body and type(body[0]) is Marshalled:
        return body[0].content
    try:
        marshalled = _marshalled(signature, body) if signature else b""
    except InvalidArgs as error:
        raise RuntimeError(f"the reply does not fit its type: {error.text}") from error
    if len(marshalled) > MAX_BODY:
        raise RuntimeError(f"the reply has {len(marshalled)} bytes, more than a message can hold")
    return marshalled


def return_header(content_size: int, serial: int, fields_size: int, request_serial: int) -> bytes:
    """What comes before `return_fields` in the answer to the call with `request_serial`."""
    return heads.ANSWER(heads.RETURN, content_size, serial, fields_size, heads.REPLY_SERIAL, request_serial)


@lru_cache(maxsize=1024)
def return_fields(destination: str | None, signature: str) -> tuple[int, bytes]:
    """The header fields that stay the same from answer to answer, padded; and the size of all unpadded."""
    fields = heads.fields(((heads.DESTINATION, destination),), signature)
    return 8 + len(fields), heads.padded(fields)


def error_reply(serial: int, request: Message, name: str, text: str) -> bytes:
    """Never raises: a name or text that cannot travel is replaced."""
    return error_bytes(serial, request.sender, request.serial, name, text)


def error_bytes(serial: int, sender: str | None, request_serial: int, name: str, text: str) -> bytes:
    """`error_reply` to the call with that serial."""
    words = text[:MAX_ERROR_TEXT].replace("\0", "").encode(errors="replace")
    return heads.error_answer(serial, request_serial, _error_fields(sender, name), words)


@lru_cache(maxsize=1024)
def _error_fields(destination: str | None, name: str) -> bytes:
    may_travel = _INTERFACE.match(name) and len(name) <= MAX_NAME
    names = ((heads.DESTINATION, destination), (heads.ERROR_NAME, name if may_travel else FAILED))
    return heads.fields(names, "s")


def error_words(error: BaseException) -> tuple[str, str]:
    """Name and text that an exception travels with; a bug says nothing about itself."""
    if isinstance(error, RemoteError):
        return error.name, error.text
    if isinstance(error, OpenxtError):
        return error.dbus_name, error.text
    return FAILED, "internal error"


def remote_error(reply: Message) -> RemoteError:
    """The exception for an error reply; the text is empty when the reply carries none."""
    text = reply.body[0] if reply.body and isinstance(reply.body[0], str) else ""
    return RemoteError(reply.error_name or FAILED, text)


def expects_reply(request: Message) -> bool:
    flags = request.flags
    return flags is _NO_FLAGS or not flags.value & _NO_REPLY_EXPECTED
