# SPDX-License-Identifier: GPL-2.0-or-later
"""A message's header and its source → the facts that rules are asked about.  Pure."""

from openxt_bus.framing import Header, MessageType, first_string
from openxt_rpcproxy.rules.model import Direction, Facts, Kind, Source

_KINDS = {
    MessageType.METHOD_CALL: Kind.CALL,
    MessageType.METHOD_RETURN: Kind.RETURN,
    MessageType.ERROR: Kind.ERROR,
    MessageType.SIGNAL: Kind.SIGNAL,
}
_PROPERTIES = "org.freedesktop.DBus.Properties"
_PROPERTY_CALLS = frozenset({"Get", "Set", "GetAll"})


def facts_of(message: bytes, header: Header, direction: Direction, source: Source) -> Facts:
    fields = (
        ("destination", header.destination),
        ("interface", header.interface),
        ("member", header.member),
        ("sender", header.sender),
    )
    return Facts(
        direction,
        _KINDS.get(header.type, Kind.OTHER),  # type: ignore[call-overload]  # an int compares equal
        source,
        {name: value for name, value in fields if value},
        _property_interface(message, header),
    )


def _property_interface(message: bytes, header: Header) -> str:
    if header.type != MessageType.METHOD_CALL or header.interface != _PROPERTIES:
        return ""
    if header.member not in _PROPERTY_CALLS:
        return ""
    return first_string(message, header) or ""


def subject(header: Header) -> str:
    """One line about a message, for the log.  Names come from a guest: quoted and cut."""
    kind = MessageType(header.type).name.lower() if header.type in _KINDS else str(header.type)
    return f"{kind} to {header.destination[:80]!r} {header.interface[:80]!r}.{header.member[:80]!r}"
