# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP, the language of a running QEMU: commands → lines, lines → answers and events.  Pure.

Source: QEMU, docs/interop/qmp-spec.  QEMU is a program of ours, but it holds what a guest did to it: what
comes is bounded and checked like a guest's words.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from openxt_core.errors import Unavailable

LINE_MAX = 1 << 20

Answer: TypeAlias = Any
"""What a command returns, as decoded from JSON."""


class QmpError(Unavailable):
    """QEMU refused a command, or said something that is not QMP."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """The first word of QEMU."""


@dataclass(frozen=True, slots=True)
class Reply:
    """To the command of that number; `error` is empty when it was done."""

    number: int
    value: Answer = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that QEMU tells by itself."""

    name: str
    data: Mapping[str, Any]


Message: TypeAlias = Greeting | Reply | Event


def command(number: int, name: str, arguments: Mapping[str, object] | None = None) -> bytes:
    """One line that asks for `name`; its reply will carry `number`."""
    request: dict[str, object] = {"execute": name, "id": number}
    if arguments:
        request["arguments"] = dict(arguments)
    return json.dumps(request).encode() + b"\r\n"


def message(line: bytes) -> Message:
    """What one line means.  Raises QmpError."""
    try:
        said = json.loads(line)
    except ValueError as error:
        raise QmpError(f"QEMU does not speak QMP: {line[:60]!r}") from error
    match said:
        case {"QMP": _}:
            return Greeting()
        case {"event": str(name)}:
            data = said.get("data")
            return Event(name, data if isinstance(data, dict) else {})
        case {"error": {"desc": str(text)}, "id": int(number)}:
            return Reply(number, error=text)
        case {"return": value, "id": int(number)}:
            return Reply(number, value)
    raise QmpError(f"QEMU says what is not QMP: {line[:60]!r}")


@dataclass
class Reader:
    """Bytes as they come → messages."""

    _rest: bytes = field(default=b"")

    def feed(self, data: bytes) -> Iterator[Message]:
        """Raises QmpError for what is not QMP, and for a line without end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX:
            raise QmpError(f"a line of QEMU is longer than {LINE_MAX} bytes")
        for line in lines:
            if line.strip():
                yield message(line)
