# SPDX-License-Identifier: GPL-2.0-or-later
"""The v4v rules of all running VMs → what is open between domains, and the words of viptables for it.  Pure.

A rule opens each pair of what its two ends mean now, and the way back of each; a domain is not opened to
itself.  An end that means nobody opens nothing.  What several rules open is open once, and stays as long as
one of them does.  Source: OpenXT xenmgr, 2015.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from openxt_core.ids import DOM0, DOM0_UUID, Uuid
from openxt_core.v4v_rules import Endpoint, Rule

_OLD_USER_TYPE = "pvm"
_USER_TYPE = "svm"

# What a domain is called in a plan that is made before it has a number.
SELF, SELF_STUBDOM = -1, -2
PLACEHOLDERS: Mapping[int, str] = {SELF: "MYSELF", SELF_STUBDOM: "MY-STUBDOM"}


@dataclass(frozen=True, slots=True)
class Speaker:
    """A VM with a domain: who may be meant by a rule, and the rules that it brings."""

    uuid: Uuid
    domid: int
    type: str
    name: str
    rules: tuple[Rule, ...] = ()
    stubdom: int | None = None
    is_seamless: bool = False


@dataclass(frozen=True, slots=True)
class Opening:
    """Packets from one address to another pass.  None: any domain, any port."""

    source: int | None
    target: int | None
    source_port: int | None = None
    target_port: int | None = None

    def options(self, names: Mapping[int, str] = PLACEHOLDERS) -> tuple[str, ...]:
        """The words of viptables, in the original's order."""
        pairs = (
            ("--dom-in", _word(self.source, names)),
            ("--dom-out", _word(self.target, names)),
            ("--port-in", _word(self.source_port, {})),
            ("--port-out", _word(self.target_port, {})),
        )
        return tuple(word for option, value in pairs if value for word in (option, value))


def _word(number: int | None, names: Mapping[int, str]) -> str:
    return "" if number is None else names.get(number, str(number))


@dataclass(frozen=True, slots=True)
class Reason:
    """Whose rule it is that opens something."""

    owner: Uuid
    rule: Rule


Openings = dict[Opening, Reason]  # in the order in which they are added


def openings_of(speakers: Sequence[Speaker]) -> Openings:
    """Everything that is open while exactly these VMs run."""
    found: Openings = {}
    for owner in speakers:
        for rule in owner.rules:
            _open(found, owner, rule, rule, speakers)
        for rule in owner.rules:
            _open(found, owner, rule.reversed(), rule, speakers)
    return found


def _open(found: Openings, owner: Speaker, way: Rule, rule: Rule, speakers: Sequence[Speaker]) -> None:
    for source in _domains(way.source, owner, speakers):
        for target in _domains(way.target, owner, speakers):
            opening = Opening(source, target, way.source.port, way.target.port)
            if not _is_void(opening):
                found.setdefault(opening, Reason(owner.uuid, rule))


def _is_void(one: Opening) -> bool:
    """A domain to itself, and everything to everything."""
    return one.source == one.target and (one.source is not None or one.source_port == one.target_port)


def _domains(end: Endpoint, owner: Speaker, speakers: Sequence[Speaker]) -> tuple[int | None, ...]:
    """The domains that an end means; (None,) is any domain, () nobody."""
    word, _, value = end.domain.partition("=")
    match word:
        case "*":
            return (None,)
        case "myself":
            return (owner.domid,)
        case "my-stubdom":
            return () if owner.stubdom is None else (owner.stubdom,)
        case "myself-if-seamless":
            return (owner.domid,) if owner.is_seamless else ()
        case "seamless":
            return tuple(one.domid for one in speakers if one.is_seamless)
        case "dom-type":
            return tuple(one.domid for one in speakers if one.type == _type(value))
        case "dom-name":
            return tuple(one.domid for one in speakers if one.name.casefold() == value.casefold())
    return _numbered(word, speakers)


def _type(word: str) -> str:
    return _USER_TYPE if word == _OLD_USER_TYPE else word


def _numbered(word: str, speakers: Sequence[Speaker]) -> tuple[int, ...]:
    """A domain by its number, or by its VM's uuid."""
    if word.isdecimal():
        return (int(word),)
    if word == DOM0_UUID:
        return (DOM0,)
    return tuple(one.domid for one in speakers if one.uuid == word)


def difference(before: Iterable[Opening], after: Iterable[Opening]) -> tuple[list[Opening], list[Opening]]:
    """What to close, and then what to open."""
    old, new = list(before), list(after)
    olds, news = set(old), set(new)
    return [one for one in old if one not in news], [one for one in new if one not in olds]


def idle_rules(speaker: Speaker, speakers: Sequence[Speaker]) -> list[Rule]:
    """Its rules that open nothing now."""
    return [rule for rule in speaker.rules if not _alone(speaker, rule, speakers)]


def _alone(owner: Speaker, rule: Rule, speakers: Sequence[Speaker]) -> Openings:
    found: Openings = {}
    _open(found, owner, rule, rule, speakers)
    return found


# viptables' own words

FLUSH = ("-F",)
ACCEPT_ALL = ("-A", "-j", "ACCEPT")
ACCEPT_NO_MORE = ("-D", "-j", "ACCEPT")
DOM0_TO_ITSELF = ("-A", "--dom-in", "0", "--dom-out", "0", "-j", "ACCEPT")
REJECT_ALL = ("-A", "-j", "REJECT")


def adding(opening: Opening) -> tuple[str, ...]:
    return ("-I", "1", *opening.options(), "-j", "ACCEPT")


def removing(opening: Opening) -> tuple[str, ...]:
    return ("-D", *opening.options(), "-j", "ACCEPT")


_LINE = re.compile(
    r"\s*[0-9]+ : (?P<verdict>ACCEPT|REJECT) (?P<source>\*|[0-9]+):(?P<source_port>\*|[0-9]+)"
    r" -> (?P<target>\*|[0-9]+):(?P<target_port>\*|[0-9]+)\s*",
    re.ASCII,
)


def parse_listing(text: str) -> Iterator[tuple[str, Opening]]:
    """ACCEPT or REJECT, and for what, of each line of `viptables -L`; other lines are no rules."""
    for found in filter(None, map(_LINE.fullmatch, text.splitlines())):
        numbers = (_listed(found[name]) for name in ("source", "target", "source_port", "target_port"))
        yield found["verdict"], Opening(*numbers)


def _listed(word: str) -> int | None:
    return None if word == "*" else int(word)
