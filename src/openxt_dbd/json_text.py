# SPDX-License-Identifier: GPL-2.0-or-later
"""Values ↔ the JSON text of database files and dumps.  Pure.

Reading is strict: one complete JSON value, nothing after it; control characters may stand literally in
strings (the original wrote them so), but nothing that D-Bus cannot carry: no NUL, no half surrogate.
Writing is exact, so that files compare byte by byte: two spaces, `\\/` for a slash, `{ }` and `[]` for
nothing, six decimals, a newline at the end.  Source: OpenXT dbd, 2015.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import orjson

from openxt_dbd.tree import MAX_DEPTH, FilePtr, Node, Nodes, Real, Repeated, branch, depth, pairs

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
_LAYOUT = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS
# Where an unescaped line ends in `{}`, it is an object: a string ends in a quote.
_BARE_OBJECT = re.compile(rb"\{\}(?=,?\n)")


class BadText(ValueError):
    """Not the text of one value; says why."""


def loads(text: str | bytes, max_depth: int = MAX_DEPTH) -> Node:
    """The value of a complete JSON text of at most so many levels.  Raises BadText."""
    try:
        if isinstance(text, bytes):
            text = text.decode()
        node: Node = _DECODER.decode(text)
        if "[" in text or "\\u" in text or "\0" in text:
            node = _checked(node)
    except (ValueError, RecursionError) as error:
        raise BadText(str(error)) from error
    if text.count("{") + text.count("[") > max_depth and depth(node) > max_depth:
        raise BadText(f"nested deeper than {max_depth} levels")
    return node


def dumps(node: Node) -> bytes:
    """The exact text of a value.  Binary nodes count as nothing."""
    try:
        text = orjson.dumps(node, default=_plain, option=_LAYOUT)
    except orjson.JSONEncodeError:
        return "".join((*_lines(node, ""), "\n")).encode()
    return _BARE_OBJECT.sub(b"{ }", text).replace(b"/", b"\\/")


def _integer(text: str) -> int | Real:
    is_short = len(text) <= len(str(INT_MIN))
    return int(text) if is_short and INT_MIN <= int(text) <= INT_MAX else _real(text)


def _real(text: str) -> Real:
    value = float(text)
    if value - value != 0:
        raise ValueError(f"number out of range: {text[:40]}")
    return Real(value)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=branch, parse_float=_real, parse_int=_integer, parse_constant=_no_number, strict=False
)


def _checked(node: Any) -> Node:
    """Arrays made immutable, and every string looked at."""
    if isinstance(node, str):
        return _text(node)
    if isinstance(node, list):
        return tuple(map(_checked, node))
    if isinstance(node, Nodes):
        return Nodes([(_text(name), _checked(inner)) for name, inner in node.items()])
    if isinstance(node, Repeated):
        return Repeated((_text(name), _checked(inner)) for name, inner in node.pairs)
    return node  # type: ignore[no-any-return]  # numbers, booleans and null are what they are


def _text(text: str) -> str:
    text.encode()  # raises UnicodeEncodeError, a ValueError, for half a surrogate pair
    if "\0" in text:
        raise BadText("NUL in a string")
    return text


def _plain(node: object) -> Any:
    """What the fast writer shall take instead; it cannot write reals and repeated names our way."""
    if type(node) is FilePtr:
        return None
    raise TypeError


def _lines(node: Node, indent: str) -> Iterator[str]:
    """The slow writer, for trees with reals or repeated names."""
    inner = indent + "  "
    if isinstance(node, tuple):
        yield from _listed("[", ((inner, item) for item in node), "]", indent)
    elif isinstance(node, Nodes | Repeated):
        keyed = ((f"{inner}{_quoted(name)}: ", item) for name, item in pairs(node))
        yield from _listed("{", keyed, "}", indent)
    else:
        yield str(node) if isinstance(node, Real) else _quoted(node)


def _listed(opening: str, items: Iterator[tuple[str, Node]], closing: str, indent: str) -> Iterator[str]:
    empty = True
    yield opening
    for lead, item in items:
        yield f"\n{lead}" if empty else f",\n{lead}"
        yield from _lines(item, indent + "  ")
        empty = False
    if not empty:
        yield f"\n{indent}"
    elif opening == "{":
        yield " "
    yield closing


def _quoted(leaf: object) -> str:
    return orjson.dumps(leaf, default=_plain, option=_LAYOUT).decode().rstrip("\n").replace("/", "\\/")
