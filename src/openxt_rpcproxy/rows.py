# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages in a row that differ in their serials and bodies alone, read together.  Pure and bounded.

A client that asks for many things at once sends such rows, and gets a row of answers.  What is compared of
one message is compared of each; what is saved is the way from one to the next.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from openxt_bus.transport.pipe import Data

LEAST: Final = 3
"""So many messages of the same size must be left for a look at them together to pay."""
MOST: Final = 64
"""So many are looked at together: the look may be in vain."""
HEAD: Final = 8
"""Bytes before the serial: byte order, type, flags, version, size of the body."""
_BIG: Final = ord("B")


@lru_cache(256)
def _layout(mark: int, size: int, parts: tuple[int, ...]) -> Callable[[Data], Iterator[tuple[Any, ...]]]:
    """Reads messages of that size: head, serial, and the tail in parts with a number between two of them."""
    tail = "I".join(f"{part}s" for part in parts)
    read = sum(parts) + 4 * (len(parts) - 1)
    order = ">" if mark == _BIG else "<"
    return Struct(f"{order}{HEAD}sI{tail}{size - HEAD - 4 - read}x").iter_unpack


def _messages(data: Data, at: int, size: int, parts: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    count = min((len(data) - at) // size, MOST)
    return _layout(data[at], size, parts)(memoryview(data)[at : at + count * size])


def serials(data: Data, at: int, size: int, tail: bytes) -> list[int]:
    """Serials of the messages from `at` on that are like the one of that size before, which had that tail."""
    head = bytes(data[at - size : at - size + HEAD])
    found = []
    for one_head, serial, one_tail in _messages(data, at, size, (len(tail),)):
        if one_tail != tail or one_head != head or not serial:
            break
        found.append(serial)
    return found


def answered(data: Data, at: int, size: int, tail: bytes, place: int) -> list[int]:
    """The same of answers, whose tails differ in the serial that they answer, at `place`: those serials."""
    head, before, after = bytes(data[at - size : at - size + HEAD]), tail[:place], tail[place + 4 :]
    found = []
    for one_head, serial, start, number, rest in _messages(data, at, size, (place, len(after))):
        if start != before or rest != after or one_head != head or not serial:
            break
        found.append(number)
    return found
