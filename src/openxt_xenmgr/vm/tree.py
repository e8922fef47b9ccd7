# SPDX-License-Identifier: GPL-2.0-or-later
"""Read values out of a dumped part of the database.  Pure.

A tree is what dbd's `dump` gives: nested objects whose leaves are texts (older files also hold JSON
numbers and booleans, which read as dbd's `read` shows them).  Keys are paths such as `config/memory`.
Text that cannot be read as the wanted type counts as absent: one bad leaf must not hide a VM.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from openxt_core.errors import BadRequest

Tree: TypeAlias = Mapping[str, Any]

TRUE_WORDS = frozenset({"true", "yes", "1"})
FALSE_WORDS = frozenset({"false", "no", "0"})


def parts(path: str) -> list[str]:
    """`/vm//x/name/` → vm, x, name."""
    return [part for part in path.split("/") if part]


def node(tree: Tree, key: str) -> Any:
    """The leaf or subtree at `key`; None when there is none."""
    at: Any = tree
    for part in key.split("/"):
        if not isinstance(at, Mapping):
            return None
        at = at.get(part)
    return at


def subtree(tree: Tree, key: str) -> Tree:
    """The children below `key`, empty when there are none."""
    found = node(tree, key)
    return found if isinstance(found, Mapping) else {}


def leaf_text(value: Any) -> str | None:
    """The text of a leaf as dbd's `read` gives it; None for a subtree or nothing."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.6f}"
    return None


def text(tree: Tree, key: str, default: str = "") -> str:
    found = leaf_text(node(tree, key))
    return default if found is None else found


def maybe_text(tree: Tree, key: str) -> str | None:
    """The text at `key`, None when the key is absent."""
    return leaf_text(node(tree, key))


def flag(tree: Tree, key: str, default: bool = False) -> bool:
    found = parse_bool(text(tree, key))
    return default if found is None else found


def number(tree: Tree, key: str, default: int = 0) -> int:
    found = parse_int(text(tree, key))
    return default if found is None else found


def maybe_number(tree: Tree, key: str) -> int | None:
    return parse_int(text(tree, key))


def items(tree: Tree, key: str) -> tuple[str, ...]:
    """A stored list: the texts of the children, in stored order."""
    texts = (leaf_text(value) for value in subtree(tree, key).values())
    return tuple(found for found in texts if found is not None)


def numbered(tree: Tree, key: str) -> Iterator[tuple[int, Tree]]:
    """The records below `key` with a number for a name, in stored order."""
    for name, value in subtree(tree, key).items():
        if name.isdecimal() and isinstance(value, Mapping):
            yield int(name), value


def parse_bool(word: str) -> bool | None:
    """None for what is neither a true nor a false word."""
    lowered = word.strip().lower()
    if lowered in TRUE_WORDS:
        return True
    return False if lowered in FALSE_WORDS else None


def parse_int(word: str) -> int | None:
    """Decimal or 0x hexadecimal; None for anything else."""
    stripped = word.strip()
    base = 16 if stripped.lower().removeprefix("-").startswith("0x") else 10
    try:
        return int(stripped, base)
    except ValueError:
        return None


def encode(value: bool | int | float | str) -> str:
    """The text that stands for a value in the database."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def texts_only(document: Any, where: str = "") -> Any:
    """A JSON document as the database wants it: every leaf a text, empty values dropped.

    Raises BadRequest naming the key of a list, which the database cannot address.
    """
    if isinstance(document, Mapping):
        kept = {name: texts_only(value, f"{where}/{name}") for name, value in document.items()}
        return {name: value for name, value in kept.items() if value is not None}
    if document is None:
        return None
    found = leaf_text(document)
    if found is None:
        raise BadRequest(f"{where or '/'}: a text or an object is expected, not a list")
    return found


def merge(under: Tree, over: Tree) -> dict[str, Any]:
    """`over` laid on `under`: objects are merged, of anything else `over` wins."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = merge(below, value)
        else:
            merged[name] = value
    return merged


def with_leaf(tree: Tree, key: str, value: str) -> dict[str, Any]:
    """A copy of `tree` with the leaf `key` set."""
    nested: Any = value
    for part in reversed(key.split("/")):
        nested = {part: nested}
    return merge(tree, nested)
