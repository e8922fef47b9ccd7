# SPDX-License-Identifier: GPL-2.0-or-later
"""What can stand where the cursor is in a command line of xec or xec-vm: asked by the shells' scripts.

Names come from the running daemons.  Whatever goes wrong there, such as a bus that is away, offers nothing:
a half-typed line is no place for errors.
"""

from __future__ import annotations

import re

from openxt_core.errors import OpenxtError
from openxt_xec import grammar, introspection, show, xec, xec_vm
from openxt_xec.completion_scripts import SCRIPTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from openxt_bus.blocking import BlockingBus
    from openxt_xec.grammar import Option
    from openxt_xec.introspection import Interface

_BUS = "org.freedesktop.DBus"
_INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
BOOLEANS = ("true", "false")
_UNSAFE = re.compile(r"([^\w@%+=:,./-])")
_BREAKS = re.compile(r".*[:=]")  # where bash cuts words, which it gives no way to know


def answer_for(program: str, *, is_line: bool) -> Callable[[Sequence[str]], str]:
    """What answers `--complete WORD…` or `--complete-line LINE`: one candidate a line."""
    table = grammar.OPTIONS if program == "xec" else xec_vm.VM_OPTIONS

    def of_words(words: Sequence[str]) -> str:
        *before, partial = words or ("",)
        return show.show_names(candidates(program, table, before, partial))

    def of_line(lines: Sequence[str]) -> str:
        words, quote = split(lines[0] if lines else "")
        *before, partial = words[1:] or ("",)
        found = candidates(program, table, before, partial)
        return show.show_names(for_bash(one, partial, quote) for one in found)

    return of_line if is_line else of_words


def candidates(program: str, table: Sequence[Option], before: Sequence[str], partial: str) -> list[str]:
    """What begins with `partial` and may follow the words before it, in the order of its source."""
    try:
        found = list(_Line(program, table, before).next_words())
    except OpenxtError:
        found = []
    return [one for one in found if one.startswith(partial) and "\n" not in one]


class _Line:
    """A command line up to the cursor."""

    def __init__(self, program: str, table: Sequence[Option], before: Sequence[str]) -> None:
        self._program = program
        self._table = table
        self._before = before
        self._words = grammar.take_apart(before, table, program)

    def next_words(self) -> Iterable[str]:
        option = self._words.incomplete
        if option is not None:
            return self._values(option)
        rest = self._words.rest
        if rest:
            return self._after(rest)
        last = self._words.given[-1] if self._words.given else None
        if last is not None and last[0].key == grammar.GET and not last[1]:
            return self._properties()  # `-g` may stand alone, but more likely a name follows
        return self._first_words()

    def _first_words(self) -> list[str]:
        options = [word for option in self._table for word in option.words if word.startswith("--")]
        is_table = self._program == "xec-vm" and self._path() is None
        try:
            methods = [] if is_table else [show.dashed(name) for one in self._found() for name in one.methods]
        except OpenxtError:
            methods = []
        return [*([] if is_table else grammar.VERBS), *methods, *options]

    def _values(self, option: Option) -> Iterable[str]:
        given = len(self._before) - self._start_of(option)
        if option.key == grammar.SET and given == 1:
            return self._values_of(self._before[-1])
        sources: dict[str, Callable[[], Iterable[str]]] = {
            "service": self._services,
            "object": self._objects,
            "interface": lambda: (one.name for one in self._interfaces()),
            grammar.GET: self._properties,
            grammar.SET: self._properties,
            grammar.COMPLETION: lambda: SCRIPTS,
            "disk": lambda: self._parts("list_disks"),
            "nic": lambda: self._parts("list_nics"),
            **{key: lambda key=key: self._vm_values(key) for key in xec_vm.SELECTORS},  # type: ignore[misc]  # key is bound
        }
        return sources.get(option.key, tuple)()

    def _start_of(self, option: Option) -> int:
        """Where the values of the last option begin."""
        return max(at for at, word in enumerate(self._before) if word in option.words) + 1

    def _after(self, rest: Sequence[str]) -> Iterable[str]:
        verb, *names = rest
        if verb in (grammar.GET, grammar.SET) and not names:
            return self._properties()
        if verb == grammar.SET and len(names) == 1:
            return self._values_of(names[0])
        return ()

    def _values_of(self, name: str) -> Iterable[str]:
        _, found = introspection.find_property(self._interfaces(), self._interface(), name)
        return BOOLEANS if found.type == "b" else ()

    # what the daemons know

    def _bus(self) -> BlockingBus:
        words = [word for option, values in self._words.given for word in _bus_words(option, values)]
        return xec.bus_of(grammar.request_of([*words, "list-vms"]))

    def _interface(self) -> str:
        return self._words.text("interface", "")

    def _path(self) -> str | None:
        if self._program == "xec":
            return self._words.text("object", "/")
        path = xec_vm.selected(self._words, self._bus())
        for part in xec_vm.PARTS:
            values = self._words.first(part)
            if path is not None and values is not None:
                return f"{path}/{part}/{values[0]}"
        return path

    def _interfaces(self) -> list[Interface]:
        service, path = self._words.text("service", grammar.XENMGR), self._path() or "/"
        (text,) = self._bus().call(service, path, _INTROSPECTABLE, "Introspect")
        return introspection.read_xml(text)

    def _found(self) -> Sequence[Interface]:
        return introspection.select(self._interfaces(), self._interface())

    def _properties(self) -> Iterable[str]:
        return dict.fromkeys(name for one in self._found() for name in one.properties)

    def _services(self) -> Iterable[str]:
        (names,) = self._bus().call(_BUS, "/org/freedesktop/DBus", _BUS, "ListNames")
        return sorted(name for name in names if not name.startswith(":"))

    def _objects(self) -> Iterable[str]:
        return ("/", "/host", *(path for path, _ in xec_vm.Vms(self._bus()).rows()))

    def _vm_values(self, name: str) -> Iterable[str]:
        values = [value for _, (value,) in xec_vm.Vms(self._bus()).rows(name)]
        return (str(value) for value in values if value != -1)

    def _parts(self, method: str) -> Iterable[str]:
        path = xec_vm.selected(self._words, self._bus())
        if path is None:
            return ()
        (paths,) = self._bus().call(grammar.XENMGR, path, xec_vm.VM_INTERFACE, method)
        return (one.rpartition("/")[2] for one in paths)


def _bus_words(option: Option, values: Sequence[str]) -> Sequence[str]:
    return [option.words[0], *values] if option.key in ("host", "session") else ()


# bash, which hands over the line as it is typed


def split(line: str) -> tuple[list[str], str]:
    """The words of a line up to the cursor, without quotes, and the quote that is open at its end."""
    words, word, quote, is_escaped, is_word = [], "", "", False, False
    for char in line:
        if is_escaped:
            word, is_escaped = word + char, False
        elif char == "\\" and quote != "'":
            is_escaped = is_word = True
        elif quote:
            word, quote = (word, "") if char == quote else (word + char, quote)
        elif char in "'\"":
            quote, is_word = char, True
        elif char.isspace():
            words += [word] if is_word else []
            word, is_word = "", False
        else:
            word, is_word = word + char, True
    return [*words, word], quote


def for_bash(candidate: str, partial: str, quote: str) -> str:
    """The candidate as bash shall put it into the line."""
    cut = _BREAKS.match(partial)
    if quote:
        return candidate
    return _UNSAFE.sub(r"\\\1", candidate[cut.end() :] if cut else candidate)
