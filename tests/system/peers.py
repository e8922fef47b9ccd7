# SPDX-License-Identifier: GPL-2.0-or-later
"""Daemons of other projects on a private bus, as their interface files have them, inside the test's process.

For tests in which such a daemon is a prop: it costs nothing, and its calls are a list at hand.  Where the
daemon itself matters, because another library speaks, or it hangs, dies or comes back, take `mocked`.
A peer writes down every call with its arguments and answers what it was given, else nothing, zero or an
empty value of the declared type.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openxt_bus.connection import Bus
from openxt_bus.export import Face, ObjectTree
from openxt_core.signature import Type, single
from openxt_core.spec import Call, Interface, Service

INPUT = "com.citrix.xenclient.input"
NETWORK = "com.citrix.xenclient.networkdaemon"
SURFMAN = "com.citrix.xenclient.surfman"
USB = "com.citrix.xenclient.usbdaemon"


@dataclass
class Peer:
    bus: Bus
    answers: dict[str, Any] = field(default_factory=dict)  # by method
    values: dict[str, Any] = field(default_factory=dict)  # of properties
    calls: list[tuple[Any, ...]] = field(default_factory=list)  # method, arguments

    def asked(self) -> list[tuple[Any, ...]]:
        """Without what xenmgr asks every input daemon that comes."""
        return [call for call in self.calls if call != ("get_auth_on_boot",)]


class Noted(Service):
    """Any method of any interface."""

    def __init__(self, spec: Interface, call: Call, peer: Peer) -> None:
        super().__init__(call)
        self.SPEC, self._peer = spec, peer  # type: ignore[misc]  # one class for all of them

    def __getattr__(self, name: str) -> Any:
        method = self.SPEC.method.get(name.rstrip("_"))
        if method is None:
            raise AttributeError(name)

        def answer(*body: Any) -> Any:
            self._peer.calls.append((name, *body))
            if name in self._peer.answers:
                return self._peer.answers[name]
            nothing = [zero(single(arg.type)) for arg in method.outs]
            return nothing[0] if len(nothing) == 1 else tuple(nothing)

        return answer

    def get_property(self, name: str) -> Any:
        return self._peer.values.get(name, zero(single(self.SPEC.property[name].type)))


def zero(kind: Type) -> Any:
    """The least value of a type."""
    if kind.code == "a":
        return {} if kind.is_dict else []
    if kind.code == "(":
        return [zero(child) for child in kind.children]
    return {"s": "", "o": "/", "g": "", "b": False, "d": 0.0}.get(kind.code, 0)


@contextlib.asynccontextmanager
async def peer(
    address: str, name: str, objects: Mapping[str, tuple[Interface, ...]], **answers: Any
) -> AsyncIterator[Peer]:
    """A daemon with that bus name and these interfaces at these paths, for the length of a `with` block."""
    one = Peer(await Bus.connect(address), dict(answers))
    tree = ObjectTree()
    for path, specs in objects.items():
        tree.route(path, *(Face(spec, lambda call, spec=spec: Noted(spec, call, one)) for spec in specs))
    one.bus.serve(tree)
    try:
        assert await one.bus.request_name(name)
        yield one
    finally:
        one.bus.close()
