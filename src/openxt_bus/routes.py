# SPDX-License-Identifier: GPL-2.0-or-later
"""Object path patterns such as `/vm/{vm}/disk/{disk}`, and finding what a path belongs to.

A literal element wins over a `{…}` one.  Pure: no I/O, and no knowledge of what hangs at a node.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

Content = TypeVar("Content")
Key: TypeAlias = tuple[str, ...]
Exists: TypeAlias = Callable[[Key], bool]


@dataclass
class Node(Generic[Content]):
    """One element of a pattern.  `exists` and `children` are asked with the key up to this node."""

    content: Content | None = None
    exists: Exists | None = None
    children: Callable[[Key], Iterable[str]] | None = None
    literal: dict[str, "Node[Content]"] = field(default_factory=dict)
    wild: "Node[Content] | None" = None

    def insert(self, pattern: str) -> "Node[Content]":
        """The node of `pattern` below this one, made where it was missing."""
        node = self
        for element in elements(pattern):
            if element.startswith("{") and element.endswith("}"):
                node.wild = node = node.wild or Node()
            else:
                node = node.literal.setdefault(element, Node())
        return node

    def child_names(self, key: Key) -> list[str]:
        """Names of the nodes directly below, in order, each once."""
        dynamic = self.children(key) if self.children else ()
        return list(dict.fromkeys((*self.literal, *dynamic)))

    def __iter__(self) -> Iterator["Node[Content]"]:
        """This node and all below it."""
        yield self
        for child in (*self.literal.values(), *((self.wild,) if self.wild else ())):
            yield from child


@dataclass(frozen=True, slots=True)
class Place(Generic[Content]):
    """A path that fits a pattern; it is there as long as every check says so."""

    node: Node[Content]
    key: Key
    checks: tuple[tuple[Exists, Key], ...]

    def is_there(self) -> bool:
        return all(exists(key) for exists, key in self.checks)


def elements(path: str) -> list[str]:
    return path.strip("/").split("/") if path != "/" else []


def locate(root: Node[Content], path: str) -> Place[Content] | None:
    """The place of `path` below `root`; None when no pattern fits."""
    node, key, checks = root, (), []  # type: Node[Content], Key, list[tuple[Exists, Key]]
    for element in elements(path):
        if (literal := node.literal.get(element)) is not None:
            node = literal
        elif node.wild is not None:
            node, key = node.wild, (*key, element)
        else:
            return None
        if node.exists is not None:
            checks.append((node.exists, key))
    return Place(node, key, tuple(checks))
