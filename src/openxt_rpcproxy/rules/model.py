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
    Kind.CALL: frozenset({"destination", "interface", "member", "sender"}),
    Kind.SIGNAL: frozenset({"interface", "member", "sender"}),
    Kind.RETURN: frozenset({"destination", "sender"}),
    Kind.ERROR: frozenset({"destination", "sender"}),
    Kind.OTHER: frozenset(),
}


@dataclass(frozen=True)
class Rule:
    """One line of policy."""

    verdict: Verdict
    direction: Direction = Direction.INCOMING
    kind: Kind | None = None  # None: any
    wanted: Mapping[str, str] = field(default_factory=dict)  # destination, interface, member, sender
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
    known: Mapping[str, str] = field(default_factory=dict)  # destination, interface, member, sender
    property_interface: str = ""  # first argument of Properties.Get/Set/GetAll


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
