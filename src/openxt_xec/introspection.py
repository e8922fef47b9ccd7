# SPDX-License-Identifier: GPL-2.0-or-later
"""Introspection XML → interfaces, methods and properties of one object.  Pure.

Uses expat itself: ElementTree would cost 6 ms to load.  Child nodes, signals and annotations are skipped.
Source: D-Bus specification 1.0, "Introspection Data Format".
"""

from __future__ import annotations

from pyexpat import ExpatError, ParserCreate

from openxt_core.errors import BadRequest, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


class Method:
    """`ins` and `outs` are pairs of name (may be empty) and type."""

    __slots__ = ("ins", "name", "outs")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ins: list[tuple[str, str]] = []
        self.outs: list[tuple[str, str]] = []


class Property:
    __slots__ = ("access", "name", "type")

    def __init__(self, name: str, kind: str, access: str) -> None:
        self.name = name
        self.type = kind
        self.access = access


class Interface:
    """Methods and properties in the order of the document."""

    __slots__ = ("methods", "name", "properties")

    def __init__(self, name: str) -> None:
        self.name = name
        self.methods: dict[str, Method] = {}
        self.properties: dict[str, Property] = {}


def read_xml(text: str) -> list[Interface]:
    """The interfaces in the order of the document.  Raises Unavailable when it is no such document."""
    reader = _Reader()
    parser = ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(text, True)
    except (ExpatError, KeyError) as error:
        raise Unavailable(f"the introspection data of the object is unreadable: {error}") from None
    return reader.interfaces


def _refuse(*_: object) -> NoReturn:
    raise Unavailable("the introspection data of the object declares entities")


class _Reader:
    """Only node/interface/{method/arg,property} counts; the same elements elsewhere mean nothing."""

    def __init__(self) -> None:
        self.interfaces: list[Interface] = []
        self._open: list[str] = []
        self._method = Method("")

    def start(self, element: str, attributes: dict[str, str]) -> None:
        self._open.append(element)
        match self._open:
            case ["node", "interface"]:
                self.interfaces.append(Interface(attributes["name"]))
            case ["node", "interface", "method"]:
                self._method = Method(attributes["name"])
                self.interfaces[-1].methods[self._method.name] = self._method
            case ["node", "interface", "method", "arg"]:
                outs = attributes.get("direction") == "out"
                args = self._method.outs if outs else self._method.ins
                args.append((attributes.get("name", ""), attributes["type"]))
            case ["node", "interface", "property"]:
                found = Property(attributes["name"], attributes["type"], attributes.get("access", "read"))
                self.interfaces[-1].properties[found.name] = found

    def end(self, _element: str) -> None:
        self._open.pop()


def find_property(interfaces: Sequence[Interface], interface: str, name: str) -> tuple[str, Property]:
    """The first interface that has it (or the one named, unless empty).  Raises BadRequest."""
    for one in select(interfaces, interface):
        if name in one.properties:
            return one.name, one.properties[name]
    if interface:
        raise BadRequest(f"property {interface}.{name} not found")
    raise BadRequest(f"property {name} not found in any of the interfaces")


def find_method(interfaces: Sequence[Interface], interface: str, name: str) -> tuple[str, Method]:
    """The first interface that has it (or the one named, unless empty).  Raises BadRequest."""
    for one in select(interfaces, interface):
        if name in one.methods:
            return one.name, one.methods[name]
    if interface:
        raise BadRequest(f"method {interface}.{name} not found")
    raise BadRequest(f"method {name} not found in any of the interfaces")


def select(interfaces: Sequence[Interface], name: str) -> Sequence[Interface]:
    """The interface of this name; all when it is empty.  Raises BadRequest."""
    found = [one for one in interfaces if name in ("", one.name)]
    if name and not found:
        raise BadRequest(f"interface {name} not found")
    return found
