# SPDX-License-Identifier: GPL-2.0-or-later
"""xec-vm: xec for one VM, which is named by its name, uuid or domid; or a table of all VMs."""

from __future__ import annotations

from openxt_bus.blocking import BlockingBus
from openxt_core.errors import BadRequest, RemoteError, Unavailable
from openxt_xec import grammar, xec
from openxt_xec.grammar import OPTIONS, XENMGR, Option, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, NoReturn

    from openxt_xec.grammar import Request

VM_INTERFACE = "com.citrix.xenclient.xenmgr.vm"
TITLE = """\
Usage: xec-vm [-n NAME | -u UUID | -d DOMID | -o PATH] [option...] [as for xec]

Like xec, for one VM, disk or network card; without a selector prints a table of
all VMs."""

_PROPERTIES = "org.freedesktop.DBus.Properties"
_UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"

# Options of xec that are handed on to it.
HANDED_ON = frozenset(option.key for option in OPTIONS) - {
    "object", "name", "domid", "host", grammar.HELP, grammar.COMPLETION
}  # fmt: skip

# fmt: off
OWN_OPTIONS = (
    Option("-h --help",           grammar.HELP, "",      "print this text"),
    Option("-o --object --path",  "object",     "PATH",  "the VM at this object path"),
    Option("-n --name",           "name",       "NAME",  "the VM of this name"),
    Option("-u --uuid",           "uuid",       "UUID",  "the VM of this uuid"),
    Option("-d --domid",          "domid",      "DOMID", "the VM that runs as this domain"),
    Option("-k --disk",           "disk",       "ID",    "the disk of the VM"),
    Option("-c --nic",            "nic",        "ID",    "the network card of the VM"),
    Option("--list-disks",        "list-disks", "",      "print the object paths of the VM's disks"),
    Option("--list-nics",         "list-nics",  "",      "print the object paths of the VM's network cards"),
    Option("--wait",              "wait",       "",      "return when the VM is where start, shutdown… lead"),
    Option("--timeout",           "timeout",    "SECONDS", "how long --wait waits (300)"),
)
# fmt: on
VM_OPTIONS = (
    *OWN_OPTIONS,
    *(option for option in OPTIONS if option.key in {*HANDED_ON, "host", grammar.COMPLETION}),
)

SELECTORS = ("name", "uuid", "domid")
LISTINGS = ("list-disks", "list-nics")
PARTS = ("disk", "nic")
COLUMNS = ("domid", "name", "uuid", "state")
HEADER = f" {'ID':<3} | {'Name':<18} | {'UUID':<36} | {'State':<10}\n"
SEPARATOR = f"{'-' * 5}+{'-' * 20}+{'-' * 38}+{'-' * 8}\n"


class Vms:
    """The VMs that xenmgr knows."""

    def __init__(self, bus: BlockingBus) -> None:
        self._bus = bus
        self._paths = _object_paths(bus.call(XENMGR, "/", XENMGR, "list_vms"))

    def rows(self, *names: str) -> Iterator[tuple[str, list[Any]]]:
        """Object path and the named properties of each VM.  Raises RemoteError."""
        answers = iter(self._bus.call_all([_get(path, name) for path in self._paths for name in names]))
        for path in self._paths:
            row = [next(answers) for _ in names]
            if not any(map(_is_gone, row)):
                yield path, list(map(_value, row))

    def path_of(self, name: str, word: str) -> str:
        """The first VM of which this property is this word.  Raises BadRequest."""
        for path, (value,) in self.rows(name):
            if str(value) == word:
                return path
        raise BadRequest(f"vm {word!r} not found")

    def table(self) -> str:
        """All VMs, those that run first."""
        rows = [row for _, row in self.rows(*COLUMNS)]
        rows.sort(key=lambda row: (row[0] < 0, max(row[0], -1)))
        return "".join((HEADER, SEPARATOR, *map(_table_line, rows)))

    def json_table(self) -> str:
        """All VMs in the order of xenmgr, as a list of objects."""
        from openxt_xec import json_text

        rows = [{"path": path, **dict(zip(COLUMNS, row, strict=True))} for path, row in self.rows(*COLUMNS)]
        return json_text.line(rows)


def _table_line(row: Sequence[Any]) -> str:
    domid, name, uuid, state = row
    return f" {domid if domid >= 0 else '':>3} | {name:<18} | {uuid:<36} | {state:<10}\n"


def _get(path: str, name: str) -> tuple[str, str, str, str, str, Sequence[Any]]:
    return XENMGR, path, _PROPERTIES, "Get", "ss", (VM_INTERFACE, name)


def _object_paths(answer: Sequence[Any]) -> list[str]:
    if len(answer) != 1 or not isinstance(answer[0], list):
        raise Unavailable("xenmgr did not answer list_vms with a list")
    return answer[0]


def _is_gone(answer: Sequence[Any] | RemoteError) -> bool:
    """Whether the VM was deleted since it was listed."""
    return isinstance(answer, RemoteError) and answer.name == _UNKNOWN_OBJECT


def _value(answer: Sequence[Any] | RemoteError) -> Any:
    if isinstance(answer, RemoteError):
        raise answer
    return answer[0].value


def _of_xec() -> str:
    """The line of the help text about options that are told in xec's."""
    words = [option.words[0] for option in VM_OPTIONS if option not in OWN_OPTIONS]
    return f"Also, as for xec: {' '.join(words[:7])}\n  {' '.join(words[7:])}\n"


def run(argv: Sequence[str], connect: Callable[[Words], BlockingBus] | None = None) -> str:
    """Do what an xec-vm command line asks for, and give what to print.  Raises OpenxtError."""
    words = grammar.take_apart(argv, VM_OPTIONS, "xec-vm")
    if words.first(grammar.HELP) is not None:
        return grammar.usage(TITLE, OWN_OPTIONS) + _of_xec()
    shell = words.first(grammar.COMPLETION)
    if shell is not None:
        return xec.completion_script("xec-vm", shell[0])
    if all(words.first(key) is None for key in (*LISTINGS, *grammar.LISTINGS)):
        words.require_complete("xec-vm")
    bus = (connect or _connect)(words)
    path = selected(words, bus)
    if path is None:
        return Vms(bus).table() if words.first("json") is None else Vms(bus).json_table()
    if words.first("wait") is not None:
        return _run_and_wait(words, path, bus)
    return _run(words, path, bus)


def _run(words: Words, path: str, bus: BlockingBus) -> str:
    return xec.run(_xec_words(words, path), lambda request: _bus_of(request, bus))


def _run_and_wait(words: Words, path: str, bus: BlockingBus) -> str:
    from openxt_xec import waiting

    method, goal = waiting.goal_of(tuple(words.rest))
    timeout_s = waiting.seconds(words.text("timeout", str(waiting.TIMEOUT_S)))
    waiter = waiting.Waiter(bus, path, timeout_s)
    printed = _run(words, path, bus)
    try:
        waiter.wait(method, goal, waiting.progress())
    finally:
        waiting.end_of_progress()
    return printed


def _connect(words: Words) -> BlockingBus:
    """The bus of this machine, or of the one that is named."""
    host = words.text("host", "")
    return xec.bus_of(grammar.request_of(["-H", host, "list-vms"])) if host else BlockingBus()


def _bus_of(request: Request, system_bus: BlockingBus) -> BlockingBus:
    return xec.bus_of(request) if request.is_session else system_bus


def selected(words: Words, bus: BlockingBus) -> str | None:
    """The object path of the selected VM; None without a selector."""
    given = words.first("object")
    if given is not None:
        return given[0]
    for key in SELECTORS:
        values = words.first(key)
        if values is not None:
            return Vms(bus).path_of(key, values[0])
    return None


def _xec_words(words: Words, path: str) -> list[str]:
    """The command line for xec."""
    for listing in LISTINGS:
        if words.first(listing) is not None:
            return ["-o", path, *_handed_on(words, ("quiet",)), listing]
    for part in PARTS:
        values = words.first(part)
        if values is not None:
            path = f"{path}/{part}/{values[0]}"
            break
    return ["-o", path, *_handed_on(words, HANDED_ON), *words.rest]


def _handed_on(words: Words, keys: Sequence[str] | frozenset[str]) -> list[str]:
    handed_on = []
    for option, values in words.given:
        if option.key in keys:
            handed_on += [option.words[0], *values]
    return handed_on


def main() -> NoReturn:
    xec.leave(xec.program("xec-vm", run))


if __name__ == "__main__":
    main()
