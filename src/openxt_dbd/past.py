# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tree became when, and how it was before: as values, as lines of a file, and backwards.  Pure.

A line is a checksum, a space and a JSON array: revision, milliseconds since 1970, who, path, old and new
value as JSON text ("" where nothing was or is; null where the value was too long to be kept).
"""

import operator
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

import orjson

from openxt_core.errors import BadRequest, Conflict
from openxt_dbd import json_text, placement, tree
from openxt_dbd.path import ROOT, Path
from openxt_dbd.path import text as text_of
from openxt_dbd.recent import Event, revision_of
from openxt_dbd.tree import ABSENT, Absent, Change, Node

MAX_VALUE_BYTES: Final = 256 * 1024
"""A longer value is not kept: that revision is listed, but cannot be undone."""


class Past(NamedTuple):
    """An event as texts."""

    revision: int
    time_ms: int
    who: str
    path: Path
    old: str | None
    new: str | None


Item = TypeVar("Item")
Difference: TypeAlias = tuple[str, str, str]
"""Path, old and new value as JSON text; "" for an entry that is not there."""


def past_of(event: Event, who: Callable[[str], str]) -> Past:
    revision, path, _, writer, time_s, old, new = event
    return Past(revision, int(time_s * 1000), who(writer), path, _kept(old), _kept(new))


def _kept(node: Node | Absent) -> str | None:
    text = _text(node)
    return text if len(text) <= MAX_VALUE_BYTES else None


def _text(node: Node | Absent) -> str:
    if type(node) is str:
        return orjson.dumps(node).decode()
    return "" if node is ABSENT else json_text.dumps(node).decode().rstrip("\n")


def _is_same(one: str, other: str) -> bool:
    """In whatever order the names are: what is taken back comes back as the last."""
    return one == other or bool(one and other and _sorted(one) == _sorted(other))


def _sorted(text: str) -> bytes:
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)


def _node(text: str) -> Node | Absent:
    return json_text.loads(text) if text else ABSENT


# Lines

_SHAPES: Final = frozenset(
    (int, int, str, list, old, new) for old in (str, type(None)) for new in (str, type(None))
)
"""Types of the items.  A plain look-up: a full history has a hundred thousand lines."""


def encode(past: Past) -> bytes:
    text = orjson.dumps(tuple(past))
    return b"%08x %b\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> Past | None:
    """None for a line that is broken, or of a kind that is not known."""
    text = line[9:]
    if line[:9] != b"%08x " % zlib.crc32(text):
        return None
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if type(record) is not list or tuple(map(type, record)) not in _SHAPES:
        return None
    record[3] = tuple(record[3])
    return Past(*record)


class Counter:
    """Told of events, the newest first, it knows which belong to the last revisions of their unit."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._counts: dict[Path, list[int]] = {}  # how many revisions, and which was counted last

    def counts_among_last(self, revision: int, path: Path) -> bool:
        part = path[:2] if path[0] in placement.FOLDERS else ROOT
        count = self._counts.get(part)
        if count is None:
            count = self._counts[part] = [0, 0]
        if count[1] != revision:
            count[0] += 1
            count[1] = revision
        return count[0] <= self._keep


def last_of_each(items: Sequence[Item], keep: int, at: Callable[[Item], tuple[int, Path]]) -> list[Item]:
    """Those of the last `keep` revisions of each unit, in their order."""
    counter = Counter(keep)
    return [item for item in reversed(items) if counter.counts_among_last(*at(item))][::-1]


STORM: Final = 4096
"""Changes between two saves: of so many, what one writer did to one text is remembered as one change."""
FEW: Final = 8
_old: Final[Callable[[Event], Node | Absent]] = operator.itemgetter(5)
_new: Final[Callable[[Event], Node | Absent]] = operator.itemgetter(6)
_NOBODYS: Final = (None, deque[int]())


def thinned(events: Sequence[Event]) -> list[Event]:
    """What is worth remembering of what was done between two saves, in the order of the revisions."""
    return _condensed(events) if len(events) >= STORM and _are_texts(events) else _pruned(events)


def _are_texts(events: Sequence[Event]) -> bool:
    """Whether each made one text of another, and was all that its revision did."""
    kinds = set(map(type, map(_old, events))) | set(map(type, map(_new, events)))
    return kinds == {str} and len(set(map(revision_of, events))) == len(events)


def _condensed(events: Iterable[Event]) -> list[Event]:
    """One change for all that one writer did to one text until another writer changed it."""
    found: list[Event] = []
    firsts: dict[Path, Event] = {}
    lasts: dict[Path, Event] = {}
    for event in events:
        path = event[1]
        last = lasts.get(path)
        if last is None:
            firsts[path] = event
        elif last[3] != event[3]:
            found.append(_merged(firsts[path], last))
            firsts[path] = event
        lasts[path] = event
    found += map(_merged, firsts.values(), lasts.values())
    return sorted(found, key=revision_of)


def _pruned(events: Sequence[Event]) -> list[Event]:
    """Where one writer changes one text again and again, its last few changes, and one for all before them.

    Events are in the order of their revisions.  What is more than one text, or part of a larger operation,
    stays as it is, and so does everything's order with it: each change begins where the one before has ended.
    So does what a writer did to a text before another one did.
    """
    found: list[Event | None] = []
    rows: dict[Path, tuple[str, deque[int]]] = {}  # who changed each text last, and where in `found` that is
    for event, is_alone in zip(events, _alone(events), strict=True):
        if not (is_alone and type(event[5]) is str and type(event[6]) is str):
            rows.clear()
        else:
            writer, row = rows.get(event[1], _NOBODYS)
            if writer != event[3]:
                _, row = rows[event[1]] = (event[3], deque())
            if len(row) == FEW:
                first, second = row.popleft(), row[0]
                found[first], found[second] = None, _merged(found[first], found[second])
            row.append(len(found))
        found.append(event)
    return [event for event in found if event is not None]


def _alone(events: Sequence[Event]) -> Iterator[bool]:
    """Whether each is all that its revision did."""
    revisions = [event[0] for event in events]
    before, after = [None, *revisions[:-1]], [*revisions[1:], None]
    return (last != this != next for last, this, next in zip(before, revisions, after, strict=True))


def _merged(first: Event | None, second: Event | None) -> Event:
    assert first is not None
    assert second is not None
    return (*second[:5], first[5], second[6])


# Backwards


def reverse(root: Node, past: Sequence[Past]) -> Iterator[Change]:
    """What takes these away from a tree, the last one first.

    Raises Conflict where the tree is not what they made of it, BadRequest where a value was not kept.
    """
    owner = tree.Owner()
    for one in reversed(past):
        if one.old is None or one.new is None:
            raise BadRequest(
                f"what revision {one.revision} did to {text_of(one.path)} was too long to be kept"
            )
        if not _is_same(_text(tree.find(root, one.path)), one.new):
            raise Conflict(f"{text_of(one.path)} is not what revision {one.revision} made of it any more")
        change = Change(one.path, _node(one.old))
        root = applied(root, change, owner)
        yield change


def applied(root: Node, change: Change, owner: tree.Owner) -> Node:
    after = tree.apply(root, change.path, change.node, owner)
    return tree.Nodes() if after is ABSENT else after


def rewound(root: Node, past: Sequence[Past]) -> Node:
    """The tree as it was before these.  Raises as `reverse`."""
    owner = tree.Owner()
    for change in tuple(reverse(root, past)):
        root = applied(root, change, owner)
    return root


def differences(old: Node | Absent, new: Node | Absent, path: Path) -> Iterator[Difference]:
    """The entries that differ, inner nodes by what is in them."""
    if tree.same(old, new):
        return
    if not (isinstance(old, tree.Nodes) and isinstance(new, tree.Nodes)):
        yield text_of(path), _text(old), _text(new)
        return
    for name in dict.fromkeys((*old, *new)):
        yield from differences(old.get(name, ABSENT), new.get(name, ABSENT), (*path, name))


def revisions(past: Iterable[Past]) -> dict[int, list[Past]]:
    """By revision, newest first."""
    found: dict[int, list[Past]] = {}
    for one in sorted(past, key=lambda one: -one.revision):
        found.setdefault(one.revision, []).append(one)
    return found
