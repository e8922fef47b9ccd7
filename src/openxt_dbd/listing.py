# SPDX-License-Identifier: GPL-2.0-or-later
"""The lines of db-ls.

The tree comes in one dump.  Where that says null, there may be a binary node: such a value is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from openxt_dbd import tree
from openxt_dbd.json_text import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from openxt_dbd.db_cmd import Ask


def indented_lines(path: str, ask: Ask) -> Iterator[str]:
    """One space per level before the name; the root has none."""
    yield from _entry(loads(ask("dump", path)), path, path.rstrip("/").rpartition("/")[2], 0, ask)


def _entry(node: tree.Node, path: str, name: str, level: int, ask: Ask) -> Iterator[str]:
    yield " " * level + name + _value(node, path, ask)
    for key, inner in tree.pairs(node):
        yield from _entry(inner, _below(path, key), key, level + 1, ask)


def full_lines(path: str, ask: Ask) -> Iterator[str]:
    """The whole path instead of the name."""
    yield from _full(loads(ask("dump", path)), path, ask)


def _full(node: tree.Node, path: str, ask: Ask) -> Iterator[str]:
    yield path + _value(node, path, ask)
    for key, inner in tree.pairs(node):
        yield from _full(inner, _below(path, key), ask)


def _value(node: tree.Node, path: str, ask: Ask) -> str:
    if any(True for _ in tree.pairs(node)):
        return " ="
    return f' = "{ask("read", path) if node is None else tree.read(node, ())}"'


def _below(path: str, name: str) -> str:
    return f"{path}{name}" if path.endswith("/") else f"{path}/{name}"
