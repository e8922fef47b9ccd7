# SPDX-License-Identifier: GPL-2.0-or-later
"""What a monitor tells the world, in the words on the wire.  Pure: sending is notifier.py's work."""

import enum
from dataclasses import dataclass
from typing import Final

from openxt_core.ids import Uuid
from openxt_xenvm.state import VmState

MAX_VALUE: Final = 64
"""Characters of a node's value that are told."""

MAX_ERROR: Final = 1024
"""Of an error's text, which may quote what a driver domain says."""


class Code(enum.IntEnum):
    """Kind of a notification.  Source: OpenXT xenvm, 2015."""

    PING = 0x0000
    HUP = 0x0001
    ERROR = 0x0002
    VMSET = 0x1000
    VMTRIGGER = 0x2000
    VMSTATE = 0xF000


@dataclass(frozen=True, slots=True)
class Notice:
    code: Code
    message: str


PING = Notice(Code.PING, "ping")
SERVICE_UP = Notice(Code.PING, "dbus-rpc-up")
HUP = Notice(Code.HUP, "hup")
CRASHED = Notice(Code.ERROR, "error:crashed")


def state_is(state: VmState) -> Notice:
    return Notice(Code.VMSTATE, f"vm:state:{state}")


def failed(text: str) -> Notice:
    """A fatal error."""
    return Notice(Code.ERROR, f"error:{harmless(text, MAX_ERROR)}")


def clock_moved(offset: str) -> Notice:
    """The guest set its real-time clock; seconds from UTC."""
    return Notice(Code.VMSET, f"rtc:{harmless(offset)}")


def node_changed(node: str, value: str | None) -> Notice:
    """A node that the config told us to watch.  `power-state` is one of them: its value is a number."""
    return Notice(Code.VMTRIGGER, f"{node}:{harmless(value)}" if value else node)


def harmless(text: str, limit: int = MAX_VALUE) -> str:
    """What a guest may have written, fit for a line of a log, of a socket, and for D-Bus."""
    return "".join(_shown(char) for char in text[:limit])


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else "?"


def as_line(uuid: Uuid, notice: Notice) -> str:
    """The form on a socket."""
    return f"{uuid}:{notice.code:d}:{notice.message}\n"
