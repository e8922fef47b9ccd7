# SPDX-License-Identifier: GPL-2.0-or-later
"""xec: call any method, get and set any property of any service on the bus, from a command line.

Everything that is loaded here is chosen by what it costs: a call takes as long as loading does.
"""

from __future__ import annotations

import os
import sys

from openxt_bus.blocking import BlockingBus, bus_address, over_program, over_v4v
from openxt_core.errors import BadRequest, InvalidArgs, OpenxtError, RemoteError, Unavailable
from openxt_core.signature import Variant
from openxt_xec import grammar, introspection, show
from openxt_xec.grammar import Request, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, NoReturn

    from openxt_xec.introspection import Interface

COMPLETE, COMPLETE_LINE = "--complete", "--complete-line"  # what the completion scripts ask
OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
TITLE = """\
Usage: xec [option...] [METHOD ARGUMENT... | get PROP | set PROP VALUE | getall
                        | watch [SIGNAL]]

Calls a method of a D-Bus object, gets or sets its properties, or prints its
signals as they come; without any of these prints what the object offers.
Dashes in METHOD stand for underscores."""

_PROPERTIES = "org.freedesktop.DBus.Properties"
_INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
_SYSLOG_USER_INFO = 1 << 3 | 6
_DOMAIN_BUS_PORT = 5555
_BRIDGE = "systemd-stdio-bridge"  # comes with systemd


class Session:
    """One request and the bus it goes to."""

    def __init__(self, request: Request, bus: BlockingBus) -> None:
        self._request = request
        self._bus = bus

    def output(self) -> str:
        """Do what is asked for, and give what to print.  Raises OpenxtError."""
        return _ACTIONS[self._request.action](self)

    def _names(self, names: Iterable[str]) -> str:
        return _json(list(names)) if self._request.is_json else show.show_names(names)

    def _values(self, values: Sequence[Any]) -> str:
        if self._request.is_json:
            return _json(values[0] if len(values) == 1 else list(values) or None)
        return _lines(values)

    def _ask(self, interface: str, member: str, signature: str = "", *body: Any) -> Sequence[Any]:
        one = self._request
        return self._bus.call(one.service, one.path, interface, member, signature, body)

    def _interfaces(self) -> list[Interface]:
        answer = self._ask(_INTROSPECTABLE, "Introspect")
        if len(answer) != 1 or not isinstance(answer[0], str):
            raise Unavailable(f"{self._request.service} did not answer Introspect with a text")
        return introspection.read_xml(answer[0])

    def introspect(self) -> str:
        found = self._interfaces()
        if self._request.is_json:
            return _json({one.name: show.members(one) for one in found})
        return show.show_interfaces(found)

    def list_interfaces(self) -> str:
        return self._names(one.name for one in self._interfaces())

    def list_methods(self) -> str:
        found = introspection.select(self._interfaces(), self._request.interface)
        return self._names(show.dashed(name) for one in found for name in one.methods)

    def list_properties(self) -> str:
        found = introspection.select(self._interfaces(), self._request.interface)
        return self._names(name for one in found for name in one.properties)

    def get(self) -> str:
        (name,) = self._request.names
        interface = self._request.interface
        if not interface:
            interface, _ = introspection.find_property(self._interfaces(), "", name)
        return self._values(self._ask(_PROPERTIES, "Get", "ss", interface, name))

    def set(self) -> str:
        name, word = self._request.names
        interface, found = introspection.find_property(self._interfaces(), self._request.interface, name)
        value = Variant(found.type, _argument(1, word, found.type))
        self._ask(_PROPERTIES, "Set", "ssv", interface, name, value)
        return ""

    def get_all(self) -> str:
        found = self._all_properties()
        if self._request.is_json:
            return _json(found)
        return "".join(show.show_properties(name, values) for name, values in found.items())

    def _all_properties(self) -> dict[str, dict[str, Any]]:
        """Properties by interface, of those that have any."""
        name = self._request.interface
        if name:
            return _without_empty({name: _properties(name, self._ask(_PROPERTIES, "GetAll", "s", name))})
        interfaces = [one for one in self._interfaces() if one.name != _PROPERTIES]
        one = self._request
        answers = self._bus.call_all(
            [(one.service, one.path, _PROPERTIES, "GetAll", "s", (each.name,)) for each in interfaces]
        )
        found: dict[str, dict[str, Any]] = {}
        for interface, answer in zip(interfaces, answers, strict=True):
            if not isinstance(answer, RemoteError):
                found[interface.name] = _properties(interface.name, answer)
            elif interface.properties:  # many services refuse to list what they have none of
                raise answer
        return _without_empty(found)

    def watch(self) -> str:
        from openxt_xec import watch

        for line in watch.lines(self._request, self._bus):
            _write(1, line)
        return ""

    def call(self) -> str:
        name, *words = self._request.names
        interface, method = introspection.find_method(self._interfaces(), self._request.interface, name)
        if len(words) != len(method.ins):
            raise BadRequest(f"method {name} expects {len(method.ins)} args, but {len(words)} were given")
        body = [
            _argument(number, word, kind)
            for number, (word, (_, kind)) in enumerate(zip(words, method.ins, strict=True), 1)
        ]
        return self._values(self._ask(interface, name, "".join(kind for _, kind in method.ins), *body))


_ACTIONS: dict[str, Callable[[Session], str]] = {
    grammar.INTROSPECT: Session.introspect,
    grammar.LIST_INTERFACES: Session.list_interfaces,
    grammar.LIST_METHODS: Session.list_methods,
    grammar.LIST_PROPERTIES: Session.list_properties,
    grammar.GET: Session.get,
    grammar.SET: Session.set,
    grammar.GET_ALL: Session.get_all,
    grammar.CALL: Session.call,
    grammar.WATCH: Session.watch,
}


def _lines(values: Sequence[Any]) -> str:
    return "".join(f"{show.show(value)}\n" for value in values)


def _json(value: Any) -> str:
    """As JSON; most calls do not load it."""
    from openxt_xec import json_text

    return json_text.line(value)


def _properties(interface: str, answer: Sequence[Any]) -> dict[str, Any]:
    if len(answer) != 1 or not isinstance(answer[0], dict):
        raise Unavailable(f"GetAll of {interface} was not answered with properties")
    return answer[0]


def _without_empty(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: values for name, values in found.items() if values}


def _argument(number: int, word: str, signature: str) -> Any:
    """The value of the argument with this number, from 1.  Raises InvalidArgs."""
    from openxt_bus.values import value_of

    try:
        return value_of(word, signature)
    except InvalidArgs as error:
        raise InvalidArgs(f"error parsing argument {number}: {error}") from None


def bus_of(request: Request) -> BlockingBus:
    if request.host:
        ssh = ("ssh", "-xT", "--", request.host, _BRIDGE, *(["--user"] if request.is_session else []))
        return BlockingBus(stream=over_program(ssh))
    if request.domid >= 0:
        folder = os.environ.get("OPENXT_ROOT", "/").rstrip("/") + "/var/run/v4v"
        return BlockingBus(stream=over_v4v(folder, request.domid, _DOMAIN_BUS_PORT))
    return BlockingBus(bus_address(session=request.is_session))


def run(argv: Sequence[str], connect: Callable[[Request], BlockingBus] = bus_of) -> str:
    """Do what an xec command line asks for, and give what to print.  Raises OpenxtError."""
    request = grammar.request_of(argv)
    if request.is_vm:
        from openxt_xec import xec_vm

        return xec_vm.run(argv)
    if request.action == grammar.HELP:
        return grammar.usage(TITLE, grammar.OPTIONS)
    if request.action == grammar.COMPLETION:
        return completion_script("xec", request.names[0])
    if not request.is_quiet:
        log_invocation(argv)
    return Session(request, connect(request)).output()


def completion_script(program_name: str, shell: str) -> str:
    """What a shell sources to complete the words of a program.  Raises BadRequest for an unknown shell."""
    from openxt_xec import completion_scripts

    return completion_scripts.script(program_name, shell)


def log_invocation(argv: Sequence[str]) -> None:
    """One line to syslog, if there is one that takes it at once."""
    from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_DGRAM, socket
    from time import strftime

    place = os.environ.get("OPENXT_ROOT", "/").rstrip("/") + "/dev/log"
    line = f"<{_SYSLOG_USER_INFO}>{strftime('%b %e %H:%M:%S')} xec: invoked with: {' '.join(argv)}"
    sock = socket(AF_UNIX, SOCK_DGRAM)
    try:
        sock.connect(place)
        sock.send(line.encode(errors="replace"), MSG_DONTWAIT)
    except OSError:
        pass  # nobody listens, or is too busy: the call matters more than its trace
    finally:
        sock.close()


def program(name: str, run_it: Callable[[Sequence[str]], str]) -> int:
    """Print the result or the error of a command line, and give its exit status."""
    argv = sys.argv[1:]
    try:
        if argv[:1] == [COMPLETE] or argv[:1] == [COMPLETE_LINE]:
            from openxt_xec import completion

            run_it = completion.answer_for(name, is_line=argv[0] == COMPLETE_LINE)
            argv = argv[1:]
        _write(1, run_it(argv))
        return OK
    except BrokenPipeError:
        return FAILED  # whoever read our output has gone
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        status, text = FAILED, f"{name}: cannot print: {error.strerror}"
    except OpenxtError as error:
        status, text = MISUSED if isinstance(error, UsageError) else FAILED, _error_line(name, error)
    _write(2, text + "\n")
    return status


def _error_line(program_name: str, error: OpenxtError) -> str:
    return f"{error.name if isinstance(error, RemoteError) else program_name}: {error}"


def _write(descriptor: int, text: str) -> None:
    """Unbuffered, and UTF-8 whatever the locale is."""
    data = text.encode(errors="surrogateescape")
    while data:
        data = data[os.write(descriptor, data) :]


def leave(status: int) -> NoReturn:
    """End the process at once: taking Python down takes 2 ms, and nothing is left to flush or to close."""
    os._exit(status)


def main() -> NoReturn:
    leave(program("xec", run))


if __name__ == "__main__":
    main()
