# SPDX-License-Identifier: GPL-2.0-or-later
"""Break Python calls and definitions over lines as the formatter of this project would.  Pure.

So generated code needs no formatter afterwards: what fits stays on one line, the rest goes one
item a line with a trailing comma.
"""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 110
STEP = "    "


@dataclass(frozen=True)
class Group:
    """Something bracketed: `head` and `tail` hold the brackets, `items` stand between them."""

    head: str
    items: "Sequence[str | Group]"
    tail: str


def flat(item: str | Group) -> str:
    """The item on one line."""
    if isinstance(item, str):
        return item
    is_tuple = item.head == "(" or item.head.endswith("=(")
    comma = "," if is_tuple and len(item.items) == 1 else ""
    return f"{item.head}{', '.join(map(flat, item.items))}{comma}{item.tail}"


def lines(item: str | Group, indent: str = "", after: str = "") -> list[str]:
    """The item as lines; `after` follows it closely, such as the comma that separates items."""
    line = indent + flat(item) + after
    if isinstance(item, str) or not item.items or len(line) <= WIDTH:
        return [line]
    inner = [line for each in item.items for line in lines(each, indent + STEP, ",")]
    return [indent + item.head, *inner, indent + item.tail + after]


def quoted(text: str) -> str:
    """A Python text constant as the formatter would write it: double quotes unless that costs more."""
    plain = repr(text)
    if plain.startswith("'") and '"' not in text:
        return '"' + plain[1:-1].replace("\\'", "'") + '"'
    return plain
