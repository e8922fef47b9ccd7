# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus messages ↔ JSON texts, as the browser's side of the original speaks them.  Pure.

A text is an object: `type` (request when absent), `id` (the serial), what the type needs, and `args`, with
`dbus-signature` when the client knows its types.  `response-to` is a string in what we write, since an old
client uses it as a key; number and string are both read.  A signal's name is `member` in what we write;
`method` is read as well.  Source: OpenXT rpc-proxy, 2015 (`--json-in`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

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
    SIGNAL,
    SIGNATURE,
    Message,
    encode,
)
from openxt_core.errors import InvalidArgs
from openxt_rpcproxy.json_values import body_from_json, guessed_signature, to_json

MAX_ID = 2**32 - 1

# Type → message type, and header fields with the keys that may hold them.
_READ: Mapping[str, tuple[int, Mapping[int, tuple[str, ...]]]] = {
    "request": (
        CALL,
        {DESTINATION: ("destination",), PATH: ("path",), INTERFACE: ("interface",), MEMBER: ("method",)},
    ),
    "signal": (SIGNAL, {PATH: ("path",), INTERFACE: ("interface",), MEMBER: ("method", "member")}),
    "response": (RETURN, {}),
    "error": (ERROR, {ERROR_NAME: ("name",)}),
}
_ANSWERS = (RETURN, ERROR)

# Message type → type, and keys with the header fields they hold.
_WRITE: Mapping[int, tuple[str, Mapping[str, int]]] = {
    CALL: (
        "request",
        {"method": MEMBER, "destination": DESTINATION, "path": PATH, "interface": INTERFACE},
    ),
    SIGNAL: ("signal", {"interface": INTERFACE, "member": MEMBER, "path": PATH}),
    RETURN: ("response", {}),
    ERROR: ("error", {"name": ERROR_NAME}),
}


class JsonError(InvalidArgs):
    """A text that is no message.  `id` is what an error answer names: the text's own id where it has one."""

    def __init__(self, text: str, id_: int = 0) -> None:
        super().__init__(text)
        self.id = id_


@dataclass(frozen=True)
class Incoming:
    """A text that was read: all but the types of its arguments is known."""

    kind: int
    serial: int
    fields: Mapping[int, str]
    args: list[Any]
    signature: str | None = None  # as the client says
    answers: int = 0  # the id of the request that a response or an error answers

    @property
    def is_answer(self) -> bool:
        return self.kind in _ANSWERS


def read(text: bytes) -> Incoming:
    """Raises JsonError saying what is wrong with it."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise JsonError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise JsonError("not a JSON object")
    serial = _id(found.get("id"))
    if not serial:
        raise JsonError(f"no id between 1 and {MAX_ID}")
    try:
        return _incoming(found, serial)
    except InvalidArgs as error:
        raise JsonError(str(error), serial) from None


def _incoming(found: dict[str, Any], serial: int) -> Incoming:
    word = found.get("type")
    kind, keys = _READ.get(word if isinstance(word, str) else "request", (0, {}))
    args, signature, answers = found.get("args"), found.get("dbus-signature"), 0
    if not kind:
        raise InvalidArgs(f"unknown type {word!r:.60}")
    if not isinstance(args, list):
        raise InvalidArgs("args is no array")
    if not isinstance(signature, str | None):
        raise InvalidArgs("dbus-signature is no string")
    if kind in _ANSWERS:
        answers = _id(found.get("response-to"))
        if not answers:
            raise InvalidArgs("response-to is no id")
    fields = {field: _text(found, names) for field, names in keys.items()}
    return Incoming(kind, serial, fields, args, signature, answers)


def _id(value: Any) -> int:
    """0 when it is none.  An id may be a number with a fraction, or text, as clients have it."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= MAX_ID:
        return 0
    return int(value)


def _text(found: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = found.get(name)
        if isinstance(value, str) and value:
            return value
    raise InvalidArgs(f"{names[0]} is missing or no string")


def message(incoming: Incoming, signature: str | None, more: Mapping[int, Any] | None = None) -> bytes:
    """As D-Bus bytes; `signature` None is guessed.  Raises InvalidArgs for what no bus would take."""
    types = guessed_signature(incoming.args) if signature is None else signature
    body = body_from_json(incoming.args, types)
    fields = {**incoming.fields, **(more or {}), SIGNATURE: types}
    return encode(Message(incoming.kind, incoming.serial, fields, body))


def question(incoming: Incoming) -> bytes:
    """The message with no more than rules look at, for when the types of its arguments are not known yet."""
    known = [arg for arg in incoming.args[:1] if isinstance(arg, str)]
    fields = {**incoming.fields, SIGNATURE: "s" * len(known)}
    return encode(Message(incoming.kind, incoming.serial, fields, known))


def write(parsed: Message, serial: int) -> bytes:
    """As JSON text, with this id."""
    word, keys = _WRITE[parsed.type]
    text: dict[str, Any] = {"id": serial, "type": word}
    if parsed.type in _ANSWERS:
        text["response-to"] = str(parsed.fields.get(REPLY_SERIAL, 0))
    for key, field in keys.items():
        text[key] = parsed.fields.get(field, "")
    text["args"] = [to_json(value) for value in parsed.body]
    return orjson.dumps(text)


def error_text(answers: int, serial: int, name: str, text: str) -> bytes:
    """An error answer of our own."""
    fields = {ERROR_NAME: name, REPLY_SERIAL: answers}
    return write(Message(ERROR, serial, fields, (text,)), serial)
