# SPDX-License-Identifier: GPL-2.0-or-later
"""How much a VM may keep in its dom-store.  Pure.  dom0 is not limited.

The limits are in the database itself, at `/dbd/quota/<name>`, where a decimal number takes the place of the
default at once.  What is there already stays, whatever the limits; only growing is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import orjson

from openxt_core.errors import QuotaExceeded
from openxt_dbd import tree
from openxt_dbd.path import Path
from openxt_dbd.path import text as text_of
from openxt_dbd.tree import ABSENT, Absent, Change, Node, Nodes

PLACE: Final = ("dbd", "quota")
TOP: Final = "dom-store"

DEFAULTS: Final[Mapping[str, int]] = {
    "nodes": 1000,  # entries of all levels
    "value-bytes": 65536,  # JSON text of one value
    "total-bytes": 1048576,  # JSON text of all names and values
    "depth": 16,  # levels below the dom-store
    "name-bytes": 256,  # of one name
}


class Size(NamedTuple):
    """What a part of the tree takes."""

    nodes: int = 0
    text_bytes: int = 0

    def grown(self, new: "Size", old: "Size") -> "Size":
        return Size(self.nodes + new.nodes - old.nodes, self.text_bytes + new.text_bytes - old.text_bytes)


NOTHING: Final = Size()


def text_bytes(leaf: object) -> int:
    """Length of the JSON text of a leaf or name, as files hold it."""
    if type(leaf) is str:
        text = orjson.dumps(leaf)
        return len(text) + text.count(b"/")
    if isinstance(leaf, tuple):
        return 2 + sum(map(text_bytes, leaf))
    if isinstance(leaf, Nodes | tree.Repeated):  # in an array
        return size(leaf).text_bytes
    return len(str(leaf))


def size(node: Node | Absent) -> Size:
    """Of the entries below an inner node; of a leaf its text alone."""
    if node is ABSENT:
        return Size()
    nodes = total = 0
    for _, name, entry in entries(node):
        nodes += 1
        total += text_bytes(name) + _value_bytes(entry)
    return Size(nodes, total + _value_bytes(node))


def entry_size(name: str, node: Node | Absent) -> Size:
    """Of an entry with all below it."""
    below = size(node)
    return Size() if node is ABSENT else Size(below.nodes + 1, below.text_bytes + text_bytes(name))


def _value_bytes(node: Node | Absent) -> int:
    return 0 if type(node) is Nodes or type(node) is tree.Repeated else text_bytes(node)


def entries(node: Node | Absent, level: int = 1) -> Iterator[tuple[int, str, Node]]:
    """Level, name and value of everything below an inner node."""
    for name, entry in tree.pairs(node):
        yield level, name, entry
        yield from entries(entry, level + 1)


class Quotas:
    """How full each dom-store is: counted once, then kept up to date."""

    def __init__(self) -> None:
        self._used: dict[str, Size] = {}

    def forget(self) -> None:
        """The whole tree is another one."""
        self._used.clear()

    def note(self, path: Path, old: Node | Absent, new: Node | Absent) -> tuple[int, int]:
        """An entry at or below a dom-store has become another: the bytes of both."""
        used, before, after = self._used.get(path[1]), _size_at(path, old), _size_at(path, new)
        if used is not None:
            self._used[path[1]] = used.grown(after, before)
        return before.text_bytes, after.text_bytes

    def exchange(
        self, root: Node, path: Path, old: str | Absent, new: str, *, is_limited: bool
    ) -> tuple[int, int] | None:
        """A text at least one level down comes in the place of another one or of nothing: the bytes of both
        entries.

        None: `check` must say.  Raises QuotaExceeded.
        """
        name, value = text_bytes(path[-1]), text_bytes(new)
        sizes = 0 if old is ABSENT else name + text_bytes(old), name + value
        if is_limited:
            limits = limits_of(root)
            is_deep = len(path) - 2 > limits["depth"]
            if is_deep or value > limits["value-bytes"] or 4 * max(map(len, path[2:])) > limits["name-bytes"]:
                return None
            used = self._size_of(root, path[1])
            _need_room(_exchanged(used, sizes), used, limits)
        return sizes

    def grow(self, store: str, sizes: tuple[int, int]) -> None:
        """An entry of that dom-store had the first size and has the second."""
        used = self._used.get(store)
        if used is not None:
            self._used[store] = _exchanged(used, sizes)

    def check(self, root: Node, changes: Sequence[Change]) -> None:
        """Whether a VM may make these changes of its dom-store.  Raises QuotaExceeded."""
        limits = limits_of(root)
        used = before = self._size_of(root, changes[0].path[1])
        owner = tree.Owner() if len(changes) > 1 else None
        for change in changes:
            _check_change(change, limits)
            path, old, new = tree.step(root, change, 2)
            used = used.grown(_size_at(path, new), _size_at(path, old))
            if owner is not None:
                after = tree.apply(root, change.path, change.node, owner)
                root = Nodes() if after is ABSENT else after
        _need_room(used, before, limits)

    def _size_of(self, root: Node, store: str) -> Size:
        """Counted when it is asked for first: a full dom-store takes as long as a thousand writes."""
        if store not in self._used:
            self._used[store] = size(tree.find(root, (TOP, store)))
        return self._used[store]


def _exchanged(used: Size, sizes: tuple[int, int]) -> Size:
    """One entry had the first size, none if that is 0, and has the second."""
    return Size(used.nodes + (not sizes[0]), used.text_bytes + sizes[1] - sizes[0])


def _size_at(path: Path, node: Node | Absent) -> Size:
    if node is ABSENT:
        return NOTHING
    if type(node) is str and len(path) > 2:  # without a look at what could be below: nearly all are texts
        return Size(1, text_bytes(path[-1]) + text_bytes(node))
    return entry_size(path[-1], node) if len(path) > 2 else size(node)


def limits_of(root: Node) -> Mapping[str, int]:
    place = tree.find(root, PLACE)
    if place is ABSENT:
        return DEFAULTS  # as on nearly every host
    set_ = {name: tree.read(place, (name,)) for name in DEFAULTS}
    return {name: int(text) if (text := set_[name]).isdecimal() else DEFAULTS[name] for name in DEFAULTS}


def _check_change(change: Change, limits: Mapping[str, int]) -> None:
    path, node = change
    if node is ABSENT:
        return
    for name in path[2:]:
        _need("name-bytes", len(name.encode()), limits, what=name)
    _need("depth", len(path) - 2, limits, what=path[2:])
    _need("value-bytes", _value_bytes(node), limits, what=path[2:])
    if type(node) is not str:
        _check_entries(path[2:], node, limits)


def _check_entries(inside: Path, node: Node, limits: Mapping[str, int]) -> None:
    for level, name, entry in entries(node):
        _need("name-bytes", len(name.encode()), limits, what=name)
        _need("depth", len(inside) + level, limits, what=name)
        _need("value-bytes", _value_bytes(entry), limits, what=(*inside, name))


def _need_room(used: Size, before: Size, limits: Mapping[str, int]) -> None:
    _need("nodes", used.nodes, limits, before.nodes)
    _need("total-bytes", used.text_bytes, limits, before.text_bytes)


def _need(name: str, value: int, limits: Mapping[str, int], before: int = 0, what: str | Path = "") -> None:
    """What was over the limit before may stay so, but not grow.  `what` is: a name, or a path."""
    if value > limits[name] and value > before:
        text = what if isinstance(what, str) else text_of(what)
        of = f" ({text[:60]!r})" if text else ""
        raise QuotaExceeded(f"quota {name}: {value}{of} is over the limit of {limits[name]}")
