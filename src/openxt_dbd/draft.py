# SPDX-License-Identifier: GPL-2.0-or-later
"""Several operations on a frozen tree, on their way to be one.  Pure.

A draft shows the tree it began with and its own changes.  It remembers what was read and which operations
were made, so that they can be carried out on a tree that has moved on, if what was read still holds there.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from openxt_core.errors import BadRequest, Conflict, Refused
from openxt_dbd import json_text, placement, tree
from openxt_dbd.path import Path
from openxt_dbd.path import text as text_of
from openxt_dbd.tree import ABSENT, Change, FilePtr, Node

UNREADABLE: Final = "exception occured"  # sic: what the original says of JSON that is none

MAX_OPERATIONS: Final = 10_000
MAX_CHARACTERS: Final = 16 * 1024 * 1024
"""Of paths and values together."""
MAX_CHARACTERS_OF_VM: Final = 1024 * 1024

Look: TypeAlias = Callable[[Node, Path], Any]
"""One way to read: what the caller was told depends on nothing else."""


def parse_value(path: Path, text: str) -> Node:
    """What an injected text holds.  Raises BadRequest, the reason chained to it."""
    try:
        return json_text.loads(text, tree.MAX_DEPTH - len(path))
    except json_text.BadText as error:
        raise BadRequest(UNREADABLE) from error


def decide(root: Node, word: str, path: Path, value: str) -> tuple[Change, ...]:
    """The changes an operation amounts to.  Raises BadRequest."""
    if word == "write":
        changes = tree.write(root, path, value)
    elif word == "inject":
        changes = tree.inject(root, path, parse_value(path, value))
    elif word == "rm":
        changes = tree.rm(root, path)
    else:
        raise BadRequest(f"an operation is write, inject or rm, not {word[:60]!r}")
    for change in changes:
        placement.check(change)
    return changes


class Draft:
    """Begun on a tree that nobody alters any more."""

    def __init__(self, base: Node, max_characters: int = MAX_CHARACTERS) -> None:
        self.base = base
        self.changes: list[Change] = []
        """What the operations amount to on `base`."""
        self.operations: list[tuple[str, Path, str]] = []
        self._root = base
        self._owner = tree.Owner()
        self._looks: dict[tuple[Look, Path], Any] = {}
        self._max_characters = self._room = max_characters

    # Operations

    def read(self, path: Path) -> str:
        return tree.read(self._seen(tree.read, path), path)

    def exists(self, path: Path) -> bool:
        return tree.exists(self._seen(tree.exists, path), path)

    def names(self, path: Path) -> list[str]:
        return tree.names(self._seen(tree.names, path), path)

    def dump(self, path: Path) -> str:
        node = tree.find(self._seen(tree.find, path), path)
        return json_text.dumps(None if node is ABSENT else node).decode()

    def binary(self, path: Path) -> FilePtr:
        """Raises BadRequest."""
        return tree.binary(self._seen(tree.find, path), path)

    # Who changes something is said by who commits it.

    def write(self, path: Path, value: str, _writer: str = "") -> None:
        self.make("write", path, value)

    def inject(self, path: Path, value: str, _writer: str = "") -> None:
        self.make("inject", path, value)

    def rm(self, path: Path, _writer: str = "") -> None:
        self.make("rm", path, "")

    def make(self, word: str, path: Path, value: str) -> None:
        """Raises BadRequest, Refused; the draft is then as before."""
        self._take_room(len(value) + sum(map(len, path)))
        for change in decide(self._root, word, path, value):
            self.put(change)
        self.operations.append((word, path, value))

    def put(self, change: Change) -> None:
        """A change that was decided elsewhere, on the same tree."""
        root = tree.apply(self._root, change.path, change.node, self._owner)
        assert root is not ABSENT
        self._root = root
        self.changes.append(change)

    def _seen(self, look: Look, path: Path) -> Node:
        """Note what a caller is about to be told of the tree it began with; the tree to tell it from."""
        if (look, path) not in self._looks:
            self._take_room(sum(map(len, path)))
            self._looks[look, path] = look(self.base, path)
        return self._root

    def _take_room(self, characters: int) -> None:
        if len(self.operations) + len(self._looks) >= MAX_OPERATIONS:
            raise Refused(f"a transaction has at most {MAX_OPERATIONS} operations")
        if characters > self._room:
            raise Refused(f"a transaction has at most {self._max_characters} characters of paths and values")
        self._room -= characters

    def rebased(self, root: Node) -> "Draft":
        """The same operations on another frozen tree.  Raises Conflict if something read differs there."""
        if root is self.base:
            return self
        for (look, path), told in self._looks.items():
            if not tree.same(look(root, path), told):
                raise Conflict(f"{text_of(path)} was changed since it was read")
        draft = Draft(root, self._max_characters)
        for operation in self.operations:
            draft.make(*operation)
        return draft


def drafted(root: Node, operations: Iterable[tuple[str, Path, str]]) -> Draft:
    """A draft of these operations.  Raises BadRequest, Refused."""
    draft = Draft(root)
    for operation in operations:
        draft.make(*operation)
    return draft
