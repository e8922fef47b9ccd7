# SPDX-License-Identifier: GPL-2.0-or-later
"""Which part of the tree belongs to which file.  Pure; paths of files are relative to /config.

    /vm/<name>           vms/<name>.db
    /dom-store/<name>    dom-store/<name>.db
    everything else      db

A part with a file of its own is a unit: what is saved, set aside, compared and found dirty as a whole.
What cannot be put into these files is turned away here, before it is in the tree.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from openxt_core.errors import BadRequest
from openxt_dbd import tree
from openxt_dbd.path import ROOT, Path
from openxt_dbd.tree import ABSENT, Absent, Change, Node, Nodes

FOLDERS: Final = {"vm": "vms", "dom-store": "dom-store"}
"""Top-level node whose children have a file each → the folder of these files."""

SUFFIX: Final = ".db"
TEMPORARY: Final = ".tmp"
ASIDE: Final = ".bad-"
NAME_MAX_BYTES: Final = 255 - len(SUFFIX + TEMPORARY)


class Unit(NamedTuple):
    """What one file holds.  The main file's unit has neither word."""

    top: str = ""
    name: str = ""

    @property
    def file(self) -> str:
        return f"{FOLDERS[self.top]}/{self.name}{SUFFIX}" if self.top else "db"

    @property
    def path(self) -> Path:
        return (self.top, self.name) if self.top else ROOT


MAIN: Final = Unit()


def unit_of(path: Path) -> Unit | None:
    """The unit that holds an entry; None for the places that several units make up."""
    if not path:
        return None
    if path[0] not in FOLDERS:
        return MAIN
    return Unit(path[0], path[1]) if len(path) > 1 else None


def split(root: Node, change: Change) -> Iterable[tuple[Unit | None, Change]]:
    """The change as changes of one unit each, to be made in this order.

    None stands for what no file holds: that `/vm` exists (an object: make it if it is missing), or does
    not (ABSENT: drop it if it is bare).
    """
    unit = unit_of(change.path)
    if unit is not None:
        return ((unit, change),)
    return _spread(root, change)


def _spread(root: Node, change: Change) -> Iterator[tuple[Unit | None, Change]]:
    """A change at `/`, `/vm` or `/dom-store`: old entries go, new ones come in their order."""
    old, new = tree.find(root, change.path), change.node
    inner = [Change((*change.path, name), ABSENT) for name in dict.fromkeys(_keys(old))]
    inner += [Change((*change.path, name), node) for name, node in tree.pairs(new)]
    if change.path and new is not ABSENT:
        yield None, Change(change.path, Nodes())
    for one in inner:
        yield from split(root, one)
    if change.path and new is ABSENT:
        yield None, change


def _keys(node: Node | Absent) -> Iterator[str]:
    return (name for name, _ in tree.pairs(node))


def part(root: Node, unit: Unit) -> Node | Absent:
    """What the unit's file shall hold; ABSENT: there shall be no such file."""
    if unit.top:
        node = tree.find(root, unit.path)
        return ABSENT if isinstance(node, tree.FilePtr) else node
    return tree.branch([(name, node) for name, node in tree.pairs(root) if name not in FOLDERS])


def check(change: Change) -> None:
    """Raises BadRequest for what no file could hold."""
    path, node = change
    if len(path) > 1:
        _check_name(path)
    elif node is not ABSENT and (not path or path[0] in FOLDERS):
        _check_object(path, node)
        for name, inner in tree.pairs(node):
            check(Change((*path, name), inner))


def _check_name(path: Path) -> None:
    if path[0] in FOLDERS and not is_file_name(path[1]):
        raise BadRequest(f"{path[1][:60]!r} cannot be the name of a file, and /{path[0]} keeps one per entry")


def _check_object(path: Path, node: Node | Absent) -> None:
    if not isinstance(node, tree.Nodes | tree.Repeated):
        raise BadRequest(f"/{'/'.join(path)} cannot be a value")
    if path and isinstance(node, tree.Repeated):
        raise BadRequest(f"/{path[0]} cannot hold a name twice")


def is_file_name(name: str) -> bool:
    return (
        name not in ("", ".", "..")
        and "/" not in name
        and "\0" not in name
        and len(name.encode()) <= NAME_MAX_BYTES
    )
