# SPDX-License-Identifier: GPL-2.0-or-later
"""A message's header and its source → the facts that rules are asked about.  Pure."""

from openxt_bus.framing import Header, MessageType, leading_strings
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
    """A call of Get, Set or GetAll without an interface may be taken for one of a property."""
    property_call = (
        header.type == MessageType.METHOD_CALL
        and header.member in _PROPERTY_CALLS
        and header.interface in ("", _PROPERTIES)
    )
    texts = leading_strings(message, header, 2 if property_call else 1)
    known = {name: value for name, value in _fields(header) if value}
    if texts:
        known["arg0"] = texts[0]
    is_named = property_call and header.interface == _PROPERTIES and header.signature.startswith("s")
    if is_named and len(texts) == 2 and header.member != "GetAll":
        known["property"] = texts[1]
    kind = _KINDS.get(header.type, Kind.OTHER)  # type: ignore[call-overload]  # an int compares equal
    return Facts(direction, kind, source, known, property_call, texts[0] if is_named and texts else "")


def _fields(header: Header) -> tuple[tuple[str, str], ...]:
    return (
        ("destination", header.destination),
        ("interface", header.interface),
        ("member", header.member),
        ("sender", header.sender),
        ("path", header.path),
    )


def header_tells_all(header: Header) -> bool:
    """Whether the facts of a message with this header, but for its arguments, come from the header alone."""
    is_property_call = header.interface in ("", _PROPERTIES) and header.member in _PROPERTY_CALLS
    return not (header.type == MessageType.METHOD_CALL and is_property_call)


def subject(header: Header) -> str:
    """One line about a message, for the log.  Names come from a guest: quoted and cut."""
    kind = MessageType(header.type).name.lower() if header.type in _KINDS else str(header.type)
    return f"{kind} to {header.destination[:80]!r} {header.interface[:80]!r}.{header.member[:80]!r}"
