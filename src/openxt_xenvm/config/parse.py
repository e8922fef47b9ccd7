# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of a config file → DomainConfig and every error with its line.  Pure; never raises.

One `key = value` a line, split at the first `=`.  Empty lines, comments (`#`) and lines without `=` are
ignored.  A bad line is collected and left out; the caller decides whether that is fatal.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from openxt_core.ids import Uuid
from openxt_xenvm.config.keys import ALIASES, LIST_BY_NAME, SCALAR_BY_NAME
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.config.nics import HostNet, NicClash, sanitised

BLANKS = " \t"


@dataclass(frozen=True, slots=True)
class ConfigError:
    """`line` counts from 1; 0 when the error is of no single line."""

    line: int
    key: str
    reason: str
    fatal: bool = False

    def __str__(self) -> str:
        where = f" (line {self.line})" if self.line else ""
        return f"config error: {self.key}: {self.reason}{where}"


@dataclass(frozen=True)
class Parsed:
    config: DomainConfig
    errors: tuple[ConfigError, ...] = ()

    @property
    def fatal(self) -> tuple[ConfigError, ...]:
        return tuple(error for error in self.errors if error.fatal)


@dataclass
class _Draft:
    """What the lines so far said."""

    scalars: dict[str, Any] = field(default_factory=dict)
    lists: dict[str, list[Any]] = field(default_factory=dict)
    errors: list[ConfigError] = field(default_factory=list)


def parse_config(text: str, uuid: Uuid | None = None, host: HostNet | None = None) -> Parsed:
    """`uuid`, when given, is used whatever the file says."""
    draft = _Draft()
    for number, key, value in _assignments(text):
        _take(draft, number, key, value)
    fields: dict[str, Any] = {**draft.scalars, **{name: tuple(items) for name, items in draft.lists.items()}}
    if uuid is not None:
        fields["uuid"] = uuid
    config = DomainConfig(**fields)
    return _checked(config, draft.errors, host or HostNet())


def _assignments(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        key, equals, value = line.partition("=")
        key, value = key.strip(BLANKS), value.strip(BLANKS)
        if equals and not key.startswith("#"):
            yield number, key, value


def _take(draft: _Draft, number: int, key: str, value: str) -> None:
    name = ALIASES.get(key, key)
    try:
        if "\0" in value:
            raise ValueError("holds a NUL character")
        if name in SCALAR_BY_NAME:
            row = SCALAR_BY_NAME[name]
            draft.scalars[row.field] = row.form.read(value)
        elif name in LIST_BY_NAME:
            item = LIST_BY_NAME[name].read(value)
            draft.lists.setdefault(LIST_BY_NAME[name].field, []).append(item)
        else:
            raise ValueError("unknown field")
    except ValueError as error:
        draft.errors.append(ConfigError(number, key[:60], str(error)))


def _checked(config: DomainConfig, errors: list[ConfigError], host: HostNet) -> Parsed:
    try:
        config = replace(config, nic=sanitised(config.nic, config.uuid or "", host))
    except NicClash as clash:
        errors.append(ConfigError(0, "nic", str(clash), fatal=True))
    maximum, memory = config.memory_max_kib, config.memory_kib
    if maximum is not None and memory is not None and maximum < memory:
        errors.append(ConfigError(0, "memory-max", "is less than memory"))
        config = replace(config, memory_max_kib=None)
    return Parsed(config, tuple(errors))


def get_field(config: DomainConfig, name: str) -> str:
    """The text that `get` answers.  Raises KeyError for a field that is not to be had."""
    row = SCALAR_BY_NAME[ALIASES.get(name, name)]
    if not row.gettable:
        raise KeyError(name)
    if row.name == "memory-max":
        return row.form.show(config.static_max_kib)
    return row.form.show(getattr(config, row.field))


def set_field(config: DomainConfig, name: str, text: str) -> DomainConfig:
    """A copy with one field changed.  KeyError: no such field; ValueError: not a value of it."""
    row = SCALAR_BY_NAME[ALIASES.get(name, name)]
    if not row.gettable:
        raise KeyError(name)
    if "\0" in text:
        raise ValueError("holds a NUL character")
    changes: Mapping[str, Any] = {row.field: row.form.read_field(text)}
    return replace(config, **changes)
