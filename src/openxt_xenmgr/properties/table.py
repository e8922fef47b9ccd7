# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows that say what a D-Bus property is, and what reads and writes any of them.  Pure.

Type and access come from the interface file; a row adds what it cannot know: the key in the database,
the default, the allowed words, when the key goes away again.  A `Stored` row needs only a tree; a `Live`
row asks its subject.  Writing gives `Change` values; whoever has the database carries them out.
"""

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from openxt_core.errors import BadRequest
from openxt_core.spec import Interface, MaybeAwaitable, Value
from openxt_xenmgr.properties.forms import Form
from openxt_xenmgr.vm.tree import Tree, encode, items, maybe_text, parse_bool, parse_int

S = TypeVar("S")


class Effect(enum.Enum):
    """What else a written property sets in motion, besides the usual announcement."""

    NAME = "name"  # vm_name_changed, and the switcher's nodes
    SWITCHER = "switcher"  # the switcher's nodes of a running VM
    TRANSFER = "transfer"  # vm_transfer_changed instead of vm_config_changed
    PROXY_RULES = "proxy-rules"  # what rpc-proxy lets the VM do has changed
    CONFIG = "config"  # config_changed of the root object
    SILENT = "silent"  # nothing at all


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to do to the database: a text sets the key, None removes it, a list replaces its items."""

    key: str
    value: str | tuple[str, ...] | None


def _never(_value: Any) -> bool:
    return False


def is_empty(value: str) -> bool:
    return value == ""


def is_not_positive(value: int) -> bool:
    return value <= 0


@dataclass(frozen=True, slots=True)
class Stored:
    """A property that is one leaf of the database."""

    name: str
    key: str
    default: Value | Callable[[Tree], Value] = ""
    kind: str = ""  # the D-Bus type; found from the default when empty
    words: tuple[str, ...] = ()  # what a text may be; empty: anything
    form: Form | None = None  # what a text must look like
    least: int | None = None  # what a number must be at least
    most: int | None = None  # … and at most; of a text: its characters
    unset: Callable[[Any], bool] = _never  # the values that remove the key
    inverted: bool = False  # the key means the opposite; the default is no key at all
    stripped: bool = False
    always: bool = False  # written even when nothing changes
    shown: Callable[[Tree, Any], Value] | None = None  # what is shown instead of the stored value
    written: Callable[[Any], str] = encode  # the text that is stored
    effect: Effect | None = None
    guarded: bool = True  # policy may forbid writing it
    unit: str = ""

    @property
    def type(self) -> str:
        return self.kind or _kind_of(self.default)

    def local(self) -> bool:
        """True when the leaf alone tells the value."""
        return self.shown is None and not callable(self.default)


@dataclass(frozen=True, slots=True)
class Joined:
    """A stored list, shown as one text with `;` between the items."""

    name: str
    key: str
    effect: Effect | None = None
    guarded: bool = True
    type: str = "s"

    def local(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Live(Generic[S]):
    """A property that is worked out, by asking `S`."""

    name: str
    type: str
    read: Callable[[S], MaybeAwaitable[Value]]
    write: Callable[[S, Any], MaybeAwaitable[None]] | None = None
    guarded: bool = True
    of_config: bool = False  # what is stored of the subject alone tells the value

    def local(self) -> bool:
        return False


Row: TypeAlias = Stored | Joined | Live[S]


def _kind_of(default: Any) -> str:
    if isinstance(default, bool):
        return "b"
    return "i" if isinstance(default, int) else "s"


def by_name(rows: Sequence[Row[S]]) -> Mapping[str, Row[S]]:
    return {row.name: row for row in rows}


def value_in(row: Stored | Joined, tree: Tree) -> Value:
    """What the property reads in this tree.  A leaf that cannot be read counts as absent."""
    if isinstance(row, Joined):
        return ";".join(items(tree, row.key))
    value = _decoded(row, maybe_text(tree, row.key))
    if value is None:
        value = row.default(tree) if callable(row.default) else row.default
    return value if row.shown is None else row.shown(tree, value)


def _decoded(row: Stored, text: str | None) -> Value | None:
    """The stored value, None when there is none or none that makes sense."""
    if text is None:
        return None
    match row.type:
        case "b":
            found = parse_bool(text)
            return found if found is None or not row.inverted else not found
        case "i":
            return parse_int(text)
    return None if _is_none_of(row, text) else text


def _is_none_of(row: Stored, text: str) -> bool:
    """Whether a text is neither one of the row's words, nor has its form, or is too long."""
    if (row.words and text not in row.words) or _is_too_long(row, text):
        return True
    return row.form is not None and not re.fullmatch(row.form.pattern, text)


def _is_too_long(row: Stored, text: str) -> bool:
    return row.most is not None and len(text) > row.most


def has_line_break(text: str) -> bool:
    """What would end its line in xenvm's file."""
    return "\n" in text or "\r" in text


def changes_for(row: Stored | Joined, value: Value) -> tuple[Change, ...]:
    """What to write for a new value of the right type.

    Raises BadRequest naming the property, the value and what is allowed.
    """
    if isinstance(row, Joined):
        if has_line_break(str(value)):
            raise BadRequest(f"{row.name} cannot be {value[:60]!r}: it cannot hold a line break")
        stripped = tuple(part.strip() for part in str(value).split(";") if part.strip())
        return (Change(row.key, stripped),)
    if row.stripped:
        value = str(value).strip()
    check_allowed(row, value)
    if row.unset(value):
        return (Change(row.key, None),)
    if row.inverted:
        return (Change(row.key, None if value is row.default else encode(not value)),)
    return (Change(row.key, row.written(value)),)


def check_allowed(row: Stored, value: Value) -> None:
    """Raises BadRequest unless the row allows `value`."""
    wrong = complaint(row, value)
    if wrong:
        raise BadRequest(f"{row.name} cannot be {str(value)[:60]!r}: {wrong}")


def complaint(row: Stored, value: Value) -> str:
    """What is allowed in place of a value of the right type; empty when it is allowed itself."""
    if isinstance(value, str):
        return _text_complaint(row, value)
    too_small = row.least is not None and value < row.least and not row.unset(value)
    too_great = row.most is not None and value > row.most
    return f"{_range(row)} is allowed" if too_small or too_great else ""


def _text_complaint(row: Stored, value: str) -> str:
    if _is_too_long(row, value):
        return f"{row.most} characters at most are allowed"
    if _is_none_of(row, value):
        allowed = ", ".join(map(repr, row.words))
        return f"expected is {row.form.says}" if row.form is not None else f"allowed are {allowed}"
    return "it cannot hold a line break" if has_line_break(value) else ""


def _range(row: Stored) -> str:
    return f"{row.least} or more" if row.most is None else f"{row.least} to {row.most}"


def needed_row(rows: Mapping[str, Row[S]], interface: Interface, name: str, *, writing: bool) -> Row[S]:
    """The row of a property that may be read or written.  Raises BadRequest naming it."""
    declared = interface.property.get(name)
    allowed = declared is not None and (declared.writable if writing else declared.readable)
    if not allowed or name not in rows:
        word = "writable" if writing else "readable"
        raise BadRequest(f"{interface.name}.{name[:60]} is not {word}, or does not exist")
    return rows[name]
