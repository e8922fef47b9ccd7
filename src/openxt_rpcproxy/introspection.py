# SPDX-License-Identifier: GPL-2.0-or-later
"""Introspection XML → types of methods' in arguments.  Pure.

The text may be a guest's: its size is bounded, entities are refused, what is not understood means nothing.
Source: D-Bus specification 1.0, "Introspection Data Format".
"""

from collections.abc import Mapping
from typing import TypeAlias
from xml.parsers.expat import ExpatError, ParserCreate

from openxt_core.errors import BadRequest
from openxt_core.signature import parse

MAX_TEXT = 1024 * 1024
MAX_METHODS = 4096

Signatures: TypeAlias = Mapping[tuple[str, str], str]
"""Interface and method → signature."""


def method_signatures(xml: str) -> Signatures:
    """Raises BadRequest for what cannot be read."""
    if len(xml) > MAX_TEXT:
        raise BadRequest(f"introspection data of {len(xml)} characters")
    reader = _Reader()
    parser = ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(xml, True)
    except (ExpatError, UnicodeEncodeError) as error:
        raise BadRequest(f"introspection data cannot be read: {error}") from None
    return reader.found


def _refuse(*_: object) -> None:
    raise BadRequest("introspection data declares entities")


class _Reader:
    """Only node/interface/method/arg counts."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], str] = {}
        self._open: list[str] = []
        self._interface = self._method = ""

    def start(self, element: str, attributes: dict[str, str]) -> None:
        self._open.append(element)
        match self._open:
            case ["node", "interface"]:
                self._interface = attributes.get("name", "")
            case ["node", "interface", "method"]:
                self._method = attributes.get("name", "")
                self.found[self._interface, self._method] = ""
                if len(self.found) > MAX_METHODS:
                    raise BadRequest(f"introspection data names more than {MAX_METHODS} methods")
            case ["node", "interface", "method", "arg"] if attributes.get("direction", "in") == "in":
                kind = attributes.get("type", "")
                self.found[self._interface, self._method] += kind
                parse(self.found[self._interface, self._method])

    def end(self, _element: str) -> None:
        self._open.pop()
