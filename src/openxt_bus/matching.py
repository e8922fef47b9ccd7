# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals, and which of them somebody wants: match rules for the bus and the same test on our side.  Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from openxt_core.spec import Value

BUS_NAME = "org.freedesktop.DBus"

Key: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Signal:
    """A received signal; `sender` is a unique name."""

    sender: str
    path: str
    interface: str
    member: str
    body: Sequence[Value]


@dataclass(frozen=True)
class Match:
    """Which signals; an empty text matches any.  `sender` may be a well-known name."""

    interface: str = ""
    member: str = ""
    path: str = ""
    path_namespace: str = ""
    sender: str = ""
    arg0: str = ""
    arg0path: str = ""  # with a slash at the end: the first argument is that, above or below it

    @property
    def key(self) -> Key:
        """Where to look for it: `keys_of` a signal holds the key of every match that may accept it."""
        return self.member, self.path, self.arg0

    @property
    def rule(self) -> str:
        """As AddMatch wants it."""
        wanted = {
            "sender": self.sender,
            "interface": self.interface,
            "member": self.member,
            "path": self.path,
            "path_namespace": self.path_namespace,
            "arg0": self.arg0,
            "arg0path": self.arg0path,
        }
        parts = [f"{key}={_quoted(value)}" for key, value in wanted.items() if value]
        return ",".join(["type='signal'", *parts])

    @property
    def followed_name(self) -> str:
        """The well-known name whose owner must be known to tell the sender; empty for none."""
        return "" if self.sender.startswith(":") or self.sender == BUS_NAME else self.sender

    def accepts(self, signal: Signal, sender: str) -> bool:
        """Whether `signal` is wanted; `sender` is the unique name that `self.sender` stands for now."""
        return (
            self.interface in ("", signal.interface)
            and self.member in ("", signal.member)
            and self.path in ("", signal.path)
            and (not self.sender or signal.sender == sender)
            and (not self.path_namespace or _is_below(signal.path, self.path_namespace))
            and (not self.arg0 or (len(signal.body) > 0 and signal.body[0] == self.arg0))
            and (not self.arg0path or (len(signal.body) > 0 and _is_related(signal.body[0], self.arg0path)))
        )


def keys_of(signal: Signal) -> Iterator[Key]:
    """See `Match.key`."""
    arg0 = signal.body[0] if signal.body else ""
    arg0s = (arg0, "") if isinstance(arg0, str) and arg0 else ("",)
    for member in (signal.member, ""):
        for path in (signal.path, ""):
            for one in arg0s:
                yield member, path, one


def _is_below(path: str, namespace: str) -> bool:
    return path == namespace or path.startswith(namespace.rstrip("/") + "/")


def _is_related(value: Value, wanted: str) -> bool:
    """Source: D-Bus specification, match rules, arg0path."""
    if not isinstance(value, str):
        return False
    above = value.endswith("/") and wanted.startswith(value)
    return value == wanted or above or (wanted.endswith("/") and value.startswith(wanted))


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
