# SPDX-License-Identifier: GPL-2.0-or-later
"""What a task of a monitor is: a name, parameters, and what it does.  The tables are in `tasks`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from openxt_core.spec import MaybeAwaitable
from openxt_xenvm.monitor import Monitor

Arguments: TypeAlias = Mapping[str, Any]
Result: TypeAlias = MaybeAwaitable[str | None]


@dataclass(frozen=True, slots=True)
class Param:
    name: str
    type: str = "s"  # s text, b boolean, i integer
    required: bool = True
    default: Any = None


@dataclass(frozen=True, slots=True)
class Task:
    name: str
    run: Callable[[Monitor, Arguments], Result]
    params: tuple[Param, ...] = field(default=())


def optional(name: str, type_: str = "s", default: Any = None) -> Param:
    return Param(name, type_, required=False, default=default)


FORCED = optional("forced", "b", default=False)
