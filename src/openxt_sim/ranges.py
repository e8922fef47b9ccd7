# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets of numbers as Xen keeps them, of ports, frames and interrupts: ranges, both ends included.  Pure."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

Range: TypeAlias = tuple[int, int]


def joined(held: Iterable[Range], first: int, last: int) -> Iterator[Range]:
    """Those that overlap or touch become one."""
    for start, end in held:
        if end + 1 < first or start > last + 1:
            yield start, end
        else:
            first, last = min(first, start), max(last, end)
    yield first, last


def cut(held: Iterable[Range], first: int, last: int) -> Iterator[Range]:
    for start, end in held:
        if start < first:
            yield start, min(end, first - 1)
        if end > last:
            yield max(start, last + 1), end
