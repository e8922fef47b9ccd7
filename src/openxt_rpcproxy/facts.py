# SPDX-License-Identifier: GPL-2.0-or-later
"""A message's header and its source → the facts that rules are asked about.  Pure."""

from openxt_bus.framing import Header, MessageType, leading_strings
from openxt_rpcproxy.rules.model import PROPERTIES, Direction, Facts, Kind, Source, is_property_call

_KINDS = {
    MessageType.METHOD_CALL: Kind.CALL,
    MessageType.METHOD_RETURN: Kind.RETURN,
    MessageType.ERROR: Kind.ERROR,
    MessageType.SIGNAL: Kind.SIGNAL,
}


def facts_of(message: bytes, header: Header, direction: Direction, source: Source) -> Facts:
    kind = _KINDS.get(header.type, Kind.OTHER)  # type: ignore[call-overload]  # an int compares equal
    property_call = is_property_call(kind, header.interface, header.member)
    texts = leading_strings(message, header, 2 if property_call else 1)
    known = {name: value for name, value in _fields(header) if value}
    if texts:
        known["arg0"] = texts[0]
    is_named = property_call and header.interface == PROPERTIES and header.signature.startswith("s")
    if is_named and header.member != "GetAll" and texts[1:] not in ([], [""]):
        known["property"] = texts[1]
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
    kind = _KINDS.get(header.type, Kind.OTHER)  # type: ignore[call-overload]  # an int compares equal
    return not is_property_call(kind, header.interface, header.member)


def subject(header: Header) -> str:
    """One line about a message, for the log.  Names come from a guest: quoted and cut."""
    kind = MessageType(header.type).name.lower() if header.type in _KINDS else str(header.type)
    return f"{kind} to {header.destination[:80]!r} {header.interface[:80]!r}.{header.member[:80]!r}"
