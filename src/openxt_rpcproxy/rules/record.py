# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written down of a message and its verdict, so that rules can be tried on it later.  Pure.

The format is told in rules/README.md: an object of JSON a line.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openxt_core.errors import BadRequest
from openxt_core.ids import Domid, parse_uuid
from openxt_rpcproxy.rules.decide import PropertyValue
from openxt_rpcproxy.rules.model import (
    Decision,
    Direction,
    Facts,
    Kind,
    Source,
    Verdict,
    is_property_call,
)

MAX_TEXT = 1024  # characters kept of any one thing that a guest says
FACTS = ("destination", "interface", "member", "path", "sender", "property", "arg0")
MAX_DOMID = 0x7FFF


class RecordError(BadRequest):
    """A line that is no record; the text says where and why."""


@dataclass(frozen=True)
class Record:
    facts: Facts
    properties: Mapping[str, PropertyValue] = field(default_factory=dict)  # of the VM, as far as known then
    verdict: Verdict | None = None  # None: nobody has decided


def as_object(
    facts: Facts, decision: Decision, properties: Mapping[str, PropertyValue], *, arg0: bool
) -> dict[str, Any]:
    """`arg0`: whether to write down the argument, which may be anybody's secret."""
    source = facts.source
    known = {name: facts.known[name] for name in FACTS if name in facts.known and (arg0 or name != "arg0")}
    known |= {"about": facts.property_interface} if facts.property_interface else {}
    one: dict[str, Any] = {"domid": source.domid}
    one |= {"uuid": source.uuid} if source.uuid else {}
    one |= {"stubdom": True} if source.stubdom else {}
    one |= {"direction": str(facts.direction), "type": str(facts.kind)}
    one |= {name: value[:MAX_TEXT] for name, value in known.items()}
    one |= {"vm": dict(properties)} if properties else {}
    one["verdict"] = str(decision.verdict)
    if decision.rule is not None:
        one |= {"rule": decision.rule.text, "origin": decision.rule.origin}
    return one


def read_records(text: str, origin: str) -> Iterator[Record]:
    """The records of a file, one a line; notes about lines left out are passed over.  Raises RecordError."""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{origin}:{number}: not JSON: {error}") from None
        if isinstance(one, dict) and "left-out" in one:
            continue
        yield record_of(one, f"{origin}:{number}")


def record_of(one: object, origin: str) -> Record:
    """Raises RecordError."""
    if not isinstance(one, dict):
        raise RecordError(f"{origin}: not an object")
    try:
        vm = one.get("vm", {})
        if not isinstance(vm, dict) or not all(isinstance(v, str | bool | None) for v in vm.values()):
            raise ValueError("`vm` holds other values than texts and booleans")
        verdict = one.get("verdict")
        return Record(_facts(one), vm, None if verdict is None else Verdict(verdict))
    except (ValueError, BadRequest) as error:
        raise RecordError(f"{origin}: {error}") from None


def _facts(one: Mapping[str, object]) -> Facts:
    known = {name: _text(one, name) for name in FACTS if one.get(name) not in (None, "")}
    kind = Kind(_text(one, "type", Kind.CALL))
    return Facts(
        Direction(_text(one, "direction", Direction.INCOMING)),
        kind,
        _source(one),
        known,
        is_property_call(kind, known.get("interface", ""), known.get("member", "")),
        _text(one, "about", ""),
    )


def _source(one: Mapping[str, object]) -> Source:
    domid, stubdom, uuid = one.get("domid", 1), one.get("stubdom", False), _text(one, "uuid", "")
    if type(domid) is not int or not 0 <= domid <= MAX_DOMID:
        raise ValueError(f"{domid!r:.80} is no domain id")
    if not isinstance(stubdom, bool):
        raise ValueError("`stubdom` is neither true nor false")
    return Source(Domid(domid), parse_uuid(uuid) if uuid else None, stubdom)


def _text(one: Mapping[str, object], name: str, default: str | None = None) -> str:
    value = one.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"`{name}` is not a text")
    return value
