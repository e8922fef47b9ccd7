# SPDX-License-Identifier: GPL-2.0-or-later
"""A rule, the facts of a message, and a decision.  Values only."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from openxt_core.ids import Domid, Uuid


class Verdict(enum.StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class Direction(enum.StrEnum):
    INCOMING = "inc"  # from the client (a guest) to the bus
    OUTGOING = "out"  # from the bus to the client


class Kind(enum.StrEnum):
    CALL = "method-call"
    RETURN = "method-return"
    ERROR = "error"
    SIGNAL = "signal"
    OTHER = "other"  # a message type of the future: matched by …-any rules only


# What a message of each kind can have at all; a specifier of anything else is not compared.
POSSIBLE: Mapping[Kind, frozenset[str]] = {
    Kind.CALL: frozenset({"destination", "interface", "member", "sender", "path", "property", "arg0"}),
    Kind.SIGNAL: frozenset({"interface", "member", "sender", "path", "property", "arg0"}),
    Kind.RETURN: frozenset({"destination", "sender", "property", "arg0"}),
    Kind.ERROR: frozenset({"destination", "sender", "property", "arg0"}),
    Kind.OTHER: frozenset({"destination", "interface", "member", "sender", "path", "property", "arg0"}),
}


PROPERTIES = "org.freedesktop.DBus.Properties"
PROPERTY_CALLS = frozenset({"Get", "Set", "GetAll"})


def is_property_call(kind: Kind, interface: str, member: str) -> bool:
    """Without an interface such a call may be taken for one about a property."""
    return kind is Kind.CALL and member in PROPERTY_CALLS and interface in ("", PROPERTIES)


BELOW = "/*"
"""How a `path` or `arg0` of a rule ends that stands for everything below it."""


@dataclass(frozen=True)
class Rule:
    """One line of policy."""

    verdict: Verdict
    direction: Direction = Direction.INCOMING
    kind: Kind | None = None  # None: any
    wanted: Mapping[str, str] = field(default_factory=dict)  # destination … arg0: the names in POSSIBLE
    stubdom: bool | None = None  # None: the word is absent
    dom_uuid: Uuid | None = None
    dom_id: Domid | None = None
    properties: tuple[tuple[str, str | bool], ...] = ()  # of the source VM: all must be equal
    text: str = ""
    origin: str = ""  # file:line, or where else it came from


@dataclass(frozen=True)
class Source:
    """The domain on the client's side of a conversation."""

    domid: Domid
    uuid: Uuid | None = None
    stubdom: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known of one message."""

    direction: Direction
    kind: Kind
    source: Source
    known: Mapping[str, str] = field(default_factory=dict)  # what it has of the names in POSSIBLE
    property_call: bool = False  # Properties.Get, Set or GetAll, or a call that may be taken for one
    property_interface: str = ""  # the first argument of such a call


@dataclass(frozen=True)
class Decision:
    verdict: Verdict
    rule: Rule | None = None  # None: no rule matched

    @property
    def reason(self) -> str:
        if self.rule is None:
            return "no rule allows it"
        return f"{self.rule.text} ({self.rule.origin})"


@dataclass(frozen=True)
class Undecided:
    """The answer depends on a property of the source VM that is not known yet."""

    property: str
