# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of one scalar to its value and back.  Pure; a reader raises ValueError with the reason."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openxt_core.errors import BadRequest
from openxt_core.ids import parse_uuid
from openxt_xen.hypervisor import Kind
from openxt_xenvm.config.model import (
    Action,
    Carrier,
    Display,
    NotifyTo,
    Screen,
    Startup,
    StartupMode,
)

KIB_PER_MIB = 1024
MAX_MEMORY_KIB = 16 * 1024**3  # what x86 Xen can give one domain: 16 TiB
MAX_INT = 2**62 - 1  # what the original's integers held

TRUE_WORDS = frozenset({"1", "y", "yes", "true"})
FALSE_WORDS = frozenset({"0", "n", "no", "false"})

_INT = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|[0-9]+)\Z", re.ASCII)
_DECIMAL = re.compile(r"[+-]?[0-9]+\Z", re.ASCII)
_IPV4 = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}\Z", re.ASCII)
_KEYMAP = re.compile(r"[A-Za-z0-9_-]+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Form:
    """A kind of scalar.  `read` takes the file's text, `read_field` the text that `set` brings."""

    word: str
    read: Callable[[str], Any]
    show: Callable[[Any], str]
    read_field: Callable[[str], Any]


def _form(
    word: str,
    read: Callable[[str], Any],
    show: Callable[[Any], str] = str,
    read_field: Callable[[str], Any] | None = None,
) -> Form:
    return Form(word, read, show, read_field or read)


def read_int(text: str) -> int:
    """Decimal, or hexadecimal, octal, binary with its prefix."""
    if not _INT.match(text) or len(text) > 80:
        raise ValueError(f"{text[:60]!r} is not a whole number")
    value = int(text, 10) if _DECIMAL.match(text) else int(text, 0)
    if abs(value) > MAX_INT:
        raise ValueError(f"{text[:60]!r} is too large")
    return value


def read_natural(text: str) -> int:
    value = read_int(text)
    if value < 0:
        raise ValueError(f"{value} is negative")
    return value


def read_bool(text: str) -> bool:
    word = text.lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError(f"{text[:60]!r} is neither true nor false")


def show_bool(value: bool) -> str:
    return "true" if value else "false"


def _read_kib(text: str) -> int:
    kib = read_int(text)
    if not 0 < kib <= MAX_MEMORY_KIB:
        raise ValueError(f"{kib} KiB is not between 1 KiB and 16 TiB")
    return kib


def _read_mib(text: str) -> int:
    return _read_kib(str(read_int(text) * KIB_PER_MIB))


def _read_vcpus(text: str) -> int:
    count = read_int(text)
    if not 1 <= count <= 512:
        raise ValueError(f"{count} is not between 1 and 512")
    return count


def _optional(form: Form) -> Form:
    """Empty text means unset."""

    def read(text: str) -> Any:
        return form.read(text) if text else None

    def read_field(text: str) -> Any:
        return form.read_field(text) if text else None

    return Form(f"{form.word}?", read, lambda v: "" if v is None else form.show(v), read_field)


def _read_uuid(text: str) -> str:
    try:
        return parse_uuid(text)
    except BadRequest as error:
        raise ValueError(str(error)) from None


def _read_kind(text: str) -> Kind:
    try:
        return Kind(text.lower())
    except ValueError:
        raise ValueError(f"{text[:60]!r} is none of pv, pvh, hvm") from None


def _read_action(text: str) -> Action:
    word = "restart" if text == "reboot" else text  # the documentation's word
    try:
        return Action(word)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is none of restart, destroy, preserve") from None


STARTUP_WORDS = {
    "start": StartupMode.START,
    "started": StartupMode.START,
    "paused": StartupMode.PAUSED,
    "shutdown": StartupMode.SHUTDOWN,
    "poweroff": StartupMode.SHUTDOWN,
    "restore": StartupMode.RESTORE,
    "restore-del": StartupMode.RESTORE,
}


def _read_startup(text: str) -> Startup:
    word, _, rest = text.partition(" ")
    mode = STARTUP_WORDS.get(word)
    if mode is None:
        raise ValueError(f"{word[:60]!r} is none of {', '.join(STARTUP_WORDS)}")
    if mode is not StartupMode.RESTORE:
        return Startup(mode)
    if not rest.strip():
        raise ValueError(f"{word} needs the file to restore from")
    return Startup(mode, rest.strip(), word == "restore-del")


def _read_notify(text: str) -> NotifyTo:
    word, _, rest = text.partition(",")
    if word == "dbus":
        return NotifyTo(Carrier.DBUS, rest)
    if word == "unix" and rest:
        return NotifyTo(Carrier.UNIX, rest)
    if word == "tcp":
        return _read_tcp(rest)
    if word == "tcp6":
        raise ValueError("tcp6 is not implemented")
    raise ValueError(f"{text[:60]!r} is none of dbus, unix,PATH, tcp,IP:PORT")


def _read_tcp(text: str) -> NotifyTo:
    host, _, port = text.rpartition(":")
    if not _IPV4.match(host) or any(int(part) > 255 for part in host.split(".")):
        raise ValueError(f"{host[:60]!r} is not a numeric IPv4 address")
    number = read_int(port)
    if not 0 < number < 65536:
        raise ValueError(f"{number} is not a port")
    return NotifyTo(Carrier.TCP, host, number)


def _show_notify(value: NotifyTo) -> str:
    if value.carrier is Carrier.TCP:
        return f"tcp,{value.address}:{value.port}"
    return f"{value.carrier},{value.address}" if value.address else str(value.carrier)


def _read_display(text: str) -> Display:
    word, _, rest = text.partition(":")
    try:
        screen = Screen(word)
    except ValueError:
        raise ValueError(f"{word[:60]!r} is none of none, vnc, sdl, intel") from None
    if screen is Screen.VNC:
        return _read_vnc(rest)
    return Display(screen, "" if screen is Screen.NONE else rest)


def _read_vnc(text: str) -> Display:
    port, keymap, unused = 0, "en-us", False
    for option in filter(None, text.split(",")):
        name, _, value = option.partition("=")
        if name == "use-port-unused":
            unused = read_bool(value) if value else True
        elif name == "port":
            port = read_natural(value)
        elif name == "keymap" and _KEYMAP.match(value):
            keymap = value
        else:
            raise ValueError(f"vnc has no option {option[:60]!r}")
    return Display(Screen.VNC, "", port, keymap, unused)


def _show_display(value: Display) -> str:
    if value.screen is not Screen.VNC:
        return f"{value.screen}:{value.detail}" if value.detail else str(value.screen)
    unused = "use-port-unused," if value.use_port_unused else ""
    return f"vnc:{unused}port={value.port},keymap={value.keymap}"


TEXT = _form("s", str)
OPTIONAL_TEXT = _optional(TEXT)
BOOL = _form("b", read_bool, show_bool)
INT = _form("i", read_int)
NATURAL = _form("i", read_natural)
OPTIONAL_INT = _optional(INT)
OPTIONAL_NATURAL = _optional(NATURAL)
VCPUS = _form("i", _read_vcpus)
MEMORY = _form("MiB", _read_mib, lambda v: "-1" if v is None else str(v), _read_kib)
OPTIONAL_MEMORY = _optional(MEMORY)
UUID = _form("uuid", _read_uuid)
OPTIONAL_UUID = _optional(UUID)
KIND = _optional(_form("pv|pvh|hvm", _read_kind))
ACTION = _form("action", _read_action)
STARTUP = _form("startup", _read_startup)
NOTIFY = _optional(_form("notify", _read_notify, _show_notify))
DISPLAY = _form("display", _read_display, _show_display)
