# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of values: what it is made of, how it is read, what an operation changes in it.  Pure.

An operation is first decided (`write`, `inject`, `rm` give the changes it amounts to, none if it has no
effect) and then applied.  `apply` gives a new tree that shares what stayed.  It never alters a node that
it did not make itself for the same owner: whoever keeps an old root stops using the old owner, and
from then on has a frozen tree.  So a run of writes copies a wide level once per snapshot, not per write,
and not even that once the snapshot is not needed any more (`Owner.inherit`).
"""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from openxt_core.errors import BadRequest
from openxt_dbd.path import Path

MAX_DEPTH: Final = 128
"""Levels below the root.  The deepest the original's own daemons use is about ten."""

NO_OVERWRITE = "cannot overwrite binary file nodes"
NO_REMOVE = "cannot remove binary file nodes"


class Absent(enum.Enum):
    ABSENT = "no entry"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Real:
    """A floating point leaf.  Its text has six decimals, always.  Source: OpenXT dbd, 2015."""

    value: float

    def __str__(self) -> str:
        return f"{self.value:.6f}"


@dataclass(frozen=True, slots=True)
class FilePtr:
    """A binary node: its value is the content of a file that others put there."""

    file: str


class Owner:
    """Who may alter the nodes that were made for it."""

    __slots__ = ("_house",)

    def __init__(self) -> None:
        self._house = object()

    def inherit(self, former: "Owner") -> None:
        """Nobody needs any more what is frozen of the former one's: its nodes are ours, and ours its."""
        self._house = former._house

    def owns(self, node: "Nodes") -> bool:
        return node.owner is self or (node.owner is not None and node.owner._house is self._house)


class Nodes(dict[str, "Node"]):
    """An inner node: names in the order in which they came, and for whom it was made.

    A dictionary itself: one object less to go through at each level of each call.
    """

    __slots__ = ("owner",)

    def __init__(self, entries: "Entries" = (), owner: Owner | None = None) -> None:
        super().__init__(entries)
        self.owner = owner

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Nodes) and pairs_equal(self.items(), other.items())

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # as any dictionary


class Repeated:
    """An inner node that holds a name more than once, as JSON allows.  Never altered in place.

    Look-ups find the first of a name, changes reach all of that name.
    """

    __slots__ = ("pairs",)

    def __init__(self, pairs: Iterable[tuple[str, "Node"]]) -> None:
        self.pairs: tuple[tuple[str, Node], ...] = tuple(pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Repeated) and pairs_equal(self.pairs, other.pairs)

    __hash__ = None  # type: ignore[assignment]  # as Nodes

    def __repr__(self) -> str:
        return f"Repeated({self.pairs!r})"


Branch: TypeAlias = Nodes | Repeated
Array: TypeAlias = tuple[Any, ...]
"""One opaque leaf; the items are nodes, but have no path."""
Node: TypeAlias = str | int | bool | Real | FilePtr | Array | Nodes | Repeated | None
"""`None` is the Empty node: an entry without a value."""


Entries: TypeAlias = Mapping[str, Node] | Iterable[tuple[str, Node]]


def branch(entries: Sequence[tuple[str, Node]]) -> Branch:
    """The inner node with these entries."""
    nodes = Nodes(entries)
    return nodes if len(nodes) == len(entries) else Repeated(entries)


class Change(NamedTuple):
    """The entry at `path` becomes `node`, whatever was there; ABSENT takes the entry away."""

    path: Path
    node: Node | Absent


def pairs_equal(some: Iterable[tuple[str, Node]], others: Iterable[tuple[str, Node]]) -> bool:
    left, right = list(some), list(others)
    return len(left) == len(right) and all(
        a == b and same(x, y) for (a, x), (b, y) in zip(left, right, strict=True)
    )


def same(one: Node | Absent, other: Node | Absent) -> bool:
    """Equal in kind and value: 1, 1.0 and true are three different leaves."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def pairs(node: Node | Absent) -> Iterable[tuple[str, Node]]:
    """The entries of an inner node in order; none for anything else."""
    if type(node) is Nodes:
        return node.items()
    return node.pairs if type(node) is Repeated else ()


def child(node: Node | Absent, name: str) -> Node | Absent:
    if type(node) is Nodes:
        return node.get(name, ABSENT)
    if type(node) is not Repeated:
        return ABSENT
    return next((found for key, found in node.pairs if key == name), ABSENT)


def find(root: Node, path: Path) -> Node | Absent:
    """What is stored at `path`; nothing is stored below a leaf."""
    node: Node | Absent = root
    for name in path:
        node = node.get(name, ABSENT) if type(node) is Nodes else child(node, name)
    return node


def read(root: Node, path: Path) -> str:
    """The value as text; "" for whatever has none, or does not exist."""
    node = find(root, path)
    if type(node) is str:
        return node
    if isinstance(node, bool):
        return "true" if node else "false"
    if isinstance(node, int | Real):
        return str(node)
    return f"file:{node.file}" if isinstance(node, FilePtr) else ""


def exists(root: Node, path: Path) -> bool:
    return not path or find(root, path) is not ABSENT


def binary(root: Node, path: Path) -> FilePtr:
    """The binary node at `path`.  Raises BadRequest."""
    node = find(root, path)
    if not isinstance(node, FilePtr):
        raise BadRequest("not a binary node")
    return node


def names(root: Node, path: Path) -> list[str]:
    """Child names in stored order."""
    return [name for name, _ in pairs(find(root, path))]


def write(root: Node, path: Path, value: str) -> tuple[Change, ...]:
    """The value becomes a string leaf.  An inner node with entries stays as it is: callers rely on
    not losing subtrees.  Raises BadRequest on a binary node's ground."""
    found = _target(root, path, NO_OVERWRITE)
    if _has_entries(found) or (type(found) is str and found == value):
        return ()
    return (Change(path, value),)


def inject(root: Node, path: Path, node: Node) -> tuple[Change, ...]:
    """The subtree is replaced, nothing is merged.  Raises BadRequest on a binary node's ground."""
    found = _target(root, path, NO_OVERWRITE)
    return () if same(found, node) else (Change(path, node),)


def rm(root: Node, path: Path) -> tuple[Change, ...]:
    """The entry goes, and with it every Empty one beside the path.  The parent stays, even if bare."""
    if not path:
        return (Change((), Nodes()),)
    if _target(root, path, NO_REMOVE) is ABSENT:
        return ()
    beside = (
        Change((*path[:depth], name), ABSENT)
        for depth in range(len(path))
        for name, node in pairs(find(root, path[:depth]))
        if node is None and name != path[depth]
    )
    return (*beside, Change(path, ABSENT))


def _has_entries(node: Node | Absent) -> bool:
    return any(True for _ in pairs(node))


def _target(root: Node, path: Path, refusal: str) -> Node | Absent:
    if len(path) > MAX_DEPTH:
        raise BadRequest(f"path has {len(path)} levels, at most {MAX_DEPTH} are kept")
    node: Node | Absent = root
    for name in path:
        if type(node) is FilePtr:
            raise BadRequest(refusal)
        node = node.get(name, ABSENT) if type(node) is Nodes else child(node, name)
    if type(node) is FilePtr:
        raise BadRequest(refusal)
    return node


class Step(NamedTuple):
    """What a change does to the one entry where the tree stops being the same."""

    path: Path
    old: Node | Absent
    new: Node | Absent


def step(root: Node, change: Change, least: int = 1) -> Step:
    """Where a leaf or nothing is on the way, `least` levels down or more, the entry is that one."""
    node: Node | Absent = root
    path = change.path
    for level, name in enumerate(path[:-1], 1):
        node = child(node, name)
        if level >= least and type(node) is not Nodes and type(node) is not Repeated:
            return Step(path[:level], node, nested(path[level:], change.node))
    return Step(path, find(root, path), change.node)


def nested(path: Path, node: Node | Absent) -> Node | Absent:
    """The inner node in which `node` is at `path`."""
    for name in reversed(path):
        node = Nodes() if node is ABSENT else Nodes({name: node})
    return node


def apply(root: Node | Absent, path: Path, node: Node | Absent, owner: Owner) -> Node | Absent:
    """The tree with one change made; leaves on the way become inner nodes."""
    if not path:
        return node
    if node is ABSENT and child(root, path[0]) is ABSENT:
        return root
    if type(root) is Repeated:
        return _apply_to_all(root, path, node)
    name, rest = path[0], path[1:]
    branch = _owned(root, owner)
    entry = apply(branch.get(name, ABSENT), rest, node, owner) if rest else node
    if entry is ABSENT:
        branch.pop(name, None)
    else:
        branch[name] = entry
    return branch


def _owned(node: Node | Absent, owner: Owner) -> Nodes:
    if type(node) is not Nodes:
        return Nodes((), owner)
    if not owner.owns(node):
        return Nodes(node, owner)
    node.owner = owner
    return node


def give(node: Node, owner: Owner) -> None:
    """All that is in `node`, which nobody else looks at, belongs to the owner from now on."""
    if type(node) is Nodes:
        node.owner = owner
        for inner in node.values():
            if type(inner) is Nodes:
                give(inner, owner)


def lend(node: Node | Absent, owner: Owner, to: Owner) -> None:
    """What the owner may alter in `node` is frozen until the other is its heir."""
    if type(node) is Nodes:
        if owner.owns(node):
            node.owner = to
        for inner in node.values():
            if type(inner) is Nodes:
                lend(inner, owner, to)


def _apply_to_all(root: Repeated, path: Path, node: Node | Absent) -> Branch:
    owner = Owner()  # nobody goes on with these: a change must come this way again, to reach all
    name, rest = path[0], path[1:]
    known = [(key, apply(old, rest, node, owner) if key == name else old) for key, old in root.pairs]
    if all(key != name for key, _ in known):
        known.append((name, apply(ABSENT, rest, node, owner)))
    return branch([(key, kept) for key, kept in known if kept is not ABSENT])


def depth(node: Node) -> int:
    """Levels of objects and arrays in a value; a plain leaf has none."""
    if isinstance(node, tuple):
        return 1 + max(map(depth, node), default=0)
    if isinstance(node, Nodes | Repeated):
        return 1 + max((depth(inner) for _, inner in pairs(node)), default=0)
    return 0
