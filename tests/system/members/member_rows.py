# SPDX-License-Identifier: GPL-2.0-or-later
"""What a row says of a property: where it is kept, what it may be, what is refused.

Keys and defaults are written out here, not taken from xenmgr's own tables: they are what clients and
databases of the original rely on.  **Source:** OpenXT xenmgr, 2015; differences stand in docs/compat.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Kept:
    """A property that is one key of the database, and can be written.

    `refused` are values of the right type that must not be taken; `stored` is the text of `valid` in the
    database (the plain one when empty, no key for None), `shown` what it then reads.
    """

    key: str
    default: Any
    valid: Any
    refused: tuple[Any, ...] = ()
    stored: str | None = ""
    shown: Any = None
    guarded: bool = True  # policy forbids it on the guarded interface

    @property
    def text(self) -> str | None:
        if self.stored != "":
            return self.stored
        return {True: "true", False: "false"}[self.valid] if isinstance(self.valid, bool) else str(self.valid)

    @property
    def reads(self) -> Any:
        return self.valid if self.shown is None else self.shown


@dataclass(frozen=True)
class Told:
    """A key of the database that no client can write: `text` there reads `value`."""

    key: str
    default: Any
    text: str
    value: Any


@dataclass(frozen=True)
class Seen:
    """A property that is worked out; `is_right` judges what is read, and it cannot be written."""

    is_right: Callable[[Any], bool]


@dataclass(frozen=True)
class View:
    """A property that writes elsewhere: `valid` is read back, `refused` values are not taken."""

    default: Any
    valid: Any
    refused: tuple[Any, ...] = ()
    guarded: bool = True


@dataclass(frozen=True)
class Barred:
    """Declared as writable, and no host of this kind can write it: the error holds `why`."""

    default: Any
    valid: Any
    why: str


Row: TypeAlias = Kept | Told | Seen | View | Barred
Table: TypeAlias = Mapping[str, Row]


def same(value: Any) -> Seen:
    """It reads exactly this."""
    return Seen(lambda seen: bool(seen == value))


# Of every type, a value of another.
WRONG_TYPE = {"b": ("s", "true"), "i": ("s", "7"), "s": ("i", 7)}
