# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus messages between dbus-fast's form and ours; errors between replies and our classes.

Bodies are walked only where the two forms differ (variants) or where a wrong value would make the bus
cut the connection (struct length, object paths, signatures); for everything else the codec itself objects.
No I/O, and nothing here decides anything.
"""

import re
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from dbus_fast import Message, MessageFlag, MessageType
from dbus_fast import Variant as WireVariant
from dbus_fast.signature import SignatureTree, get_signature_tree

from openxt_core.errors import InvalidArgs, OpenxtError, RemoteError
from openxt_core.signature import Type, Variant, check_body, parse, single
from openxt_core.spec import Value

FAILED = "org.freedesktop.DBus.Error.Failed"
UNSENDABLE = (
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    OverflowError,
    NotImplementedError,
    struct.error,
)
"""What the codec raises for a body that does not fit its signature."""

_DIFFERING = frozenset("v(og")
_OBJECT_PATH = re.compile(r"/(?:[A-Za-z0-9_]+(?:/[A-Za-z0-9_]+)*)?\Z")
_ERROR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+\Z")
_NO_REPLY_EXPECTED = MessageFlag.NO_REPLY_EXPECTED.value
_NO_FLAGS = MessageFlag.NONE
_METHOD_RETURN = MessageType.METHOD_RETURN
_EMPTY_TREE = get_signature_tree("")

Encoder: TypeAlias = Callable[[Value], Any]


def decode(body: Sequence[Any], signature: str) -> Sequence[Value]:
    """A received body with our variants; the same object where it holds none."""
    if "v" not in signature:
        return body
    return [_decoded(value) for value in body]


def _decoded(value: Any) -> Value:
    if isinstance(value, WireVariant):
        return Variant(value.signature, _decoded(value.value))
    if isinstance(value, list):
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


def method_call(
    destination: str, path: str, interface: str, member: str, signature: str, body: Sequence[Value]
) -> Message:
    """A method call.  Raises InvalidArgs for a name, path or body that must not be sent."""
    try:
        return Message(
            destination=destination,
            path=path,
            interface=interface or None,
            member=member,
            signature=signature,
            body=encode(body, signature),
        )
    except UNSENDABLE as error:
        raise InvalidArgs(f"{destination} {path} {interface}.{member}: {error}") from error


def signal(path: str, interface: str, member: str, signature: str, body: Sequence[Value]) -> Message:
    """A broadcast signal.  Raises InvalidArgs like `method_call`."""
    try:
        return Message(
            message_type=MessageType.SIGNAL,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=encode(body, signature),
        )
    except UNSENDABLE as error:
        raise InvalidArgs(f"{path} {interface}.{member}: {error}") from error


def method_return(request: Message, signature: str, body: Sequence[Value]) -> Message:
    """The answer to a call.  Raises InvalidArgs when the body does not fit the signature."""
    return Message(
        message_type=_METHOD_RETURN,
        reply_serial=request.serial,
        destination=request.sender,
        signature=get_signature_tree(signature) if signature else _EMPTY_TREE,
        body=encode(body, signature),
        validate=False,
    )


def error_reply(request: Message, name: str, text: str) -> Message:
    return Message(
        message_type=MessageType.ERROR,
        reply_serial=request.serial,
        destination=request.sender,
        error_name=name if _ERROR_NAME.match(name) and len(name) < 256 else FAILED,
        signature="s",
        body=[text.replace("\0", "").encode(errors="replace").decode()],
        validate=False,
    )


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
