# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages that go on changed: their destination, the bus name they ask for, the owner they are told.

Pure.  A changed message keeps its serial, its flags and every header field, those that nobody knows included;
only its byte order may differ.  Decides nothing: whoever calls has found that the message is to be changed.
Source: OpenXT rpc-proxy, 2015 (`--request-name`, `--owner-name`, `--translate-anonymous-dests`).
"""

from openxt_bus.codec import (
    DESTINATION,
    INTERFACE,
    PATH,
    SIGNATURE,
    CodecError,
    Message,
    decode,
    encode,
)
from openxt_bus.framing import FramingError, Header, MessageType
from openxt_core.ids import Uuid, underscored

BUS_NAME = "org.freedesktop.DBus"
BUS_PATH = "/org/freedesktop/DBus"
_NAME_CALLS = {"RequestName": "su", "ReleaseName": "s"}
"""Calls whose first argument is a name to own; their signatures."""


def is_for_the_bus(header: Header) -> bool:
    """A call without a destination is taken for one: some buses answer it themselves."""
    return header.type == MessageType.METHOD_CALL and header.destination in ("", BUS_NAME)


def concerns_a_name(header: Header) -> bool:
    """Whether it is a RequestName or ReleaseName; the interface is not looked at, as buses need none."""
    return header.member in _NAME_CALLS and is_for_the_bus(header)


def asks_for_an_owner(header: Header) -> bool:
    return header.member == "GetNameOwner" and is_for_the_bus(header)


def adds_a_match(header: Header) -> bool:
    return header.member == "AddMatch" and is_for_the_bus(header)


def removes_a_match(header: Header) -> bool:
    return header.member == "RemoveMatch" and is_for_the_bus(header)


def name_for(template: str, uuid: Uuid) -> str:
    """The bus name that a client with this uuid gets."""
    return template.replace("$UUID", underscored(uuid))


def with_destination(message: bytes, name: str) -> bytes:
    """Raises FramingError for what is no message, InvalidArgs for names that no bus takes."""
    parsed = _parsed(message)
    parsed.fields[DESTINATION] = name
    return encode(parsed)


def with_own_name(message: bytes, name: str) -> bytes:
    """A RequestName or ReleaseName for `name` instead.

    Arguments of another shape stay, for the bus to refuse.  The name that was asked for is not looked at:
    the Linux guest agent asks for `guest`, which is none.
    """
    parsed = _parsed(message)
    parsed.fields |= {DESTINATION: BUS_NAME, PATH: BUS_PATH, INTERFACE: BUS_NAME}
    if parsed.fields.get(SIGNATURE) in _NAME_CALLS.values():
        parsed.body = [name, *parsed.body[1:]]
    return encode(parsed)


def with_owner(message: bytes, name: str) -> bytes:
    """The answer to GetNameOwner, with `name` in place of the unique name."""
    parsed = _parsed(message)
    if parsed.fields.get(SIGNATURE) == "s":
        parsed.body = [name]
    return encode(parsed)


def _parsed(message: bytes) -> Message:
    try:
        return decode(message)
    except CodecError as error:
        raise FramingError(str(error)) from None
