# SPDX-License-Identifier: GPL-2.0-or-later
"""Read an interface file: D-Bus introspection XML with documentation and enumerations.

Strict: what is not known is an error that names the file and the element, because an element
that is silently skipped is a method that silently vanishes.  No code is made here.

The dialect: `node` holds `interface` and `tp:enum`; an interface holds `method`, `property`,
`signal`, `tp:enum`; `tp:docstring` may stand in any of them and in `arg` and `tp:enumvalue`;
`annotation` is checked for form and otherwise ignored.
Source: D-Bus specification 1.0, "Introspection Data Format"; Telepathy's extensions to it.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

from openxt_core import signature
from openxt_core.errors import BadRequest, InvalidArgs
from openxt_core.spec import Arg, Enum, EnumValue, IdlFile, Interface, Method, Property, Signal
from openxt_idl.docstring import BLOCKS, doc_text

TP = "{http://telepathy.freedesktop.org/wiki/DbusSpec#extensions-v0}"
DOC, ENUM, VALUE, TP_TYPE = TP + "docstring", TP + "enum", TP + "enumvalue", TP + "type"

# element: (attributes it must have, attributes it may have, elements it may hold)
GRAMMAR: dict[str, tuple[set[str], set[str], set[str]]] = {
    "node": (set(), {"name"}, {"interface", ENUM, DOC}),
    "interface": ({"name"}, set(), {"method", "property", "signal", "annotation", ENUM, DOC}),
    "method": ({"name"}, set(), {"arg", "annotation", DOC}),
    "signal": ({"name"}, set(), {"arg", "annotation", DOC}),
    "property": ({"name", "type", "access"}, {TP_TYPE}, {"annotation", DOC}),
    "arg": ({"type"}, {"name", "direction", TP_TYPE}, {"annotation", DOC}),
    "annotation": ({"name", "value"}, set(), set()),
    ENUM: ({"name", "type"}, set(), {VALUE, DOC}),
    VALUE: ({"suffix", "value"}, set(), {DOC}),
    DOC: (set(), set(), set(BLOCKS)),
    **dict.fromkeys(BLOCKS, (set(), set(), set(BLOCKS))),
}
TEXTUAL = {DOC, *BLOCKS}
ACCESS = ("read", "write", "readwrite")
MAX_NAME = 255  # D-Bus specification: no name is longer
MAX_DEPTH = 32  # far more than a list in a list needs; keeps hostile nesting from exhausting the stack

_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
_NAMES = {
    "interface": re.compile(rf"{_WORD}(\.{_WORD})+"),
    "method": re.compile(_WORD),
    "signal": re.compile(_WORD),
    "property": re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*"),
    "arg": re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)?"),
    ENUM: re.compile(_WORD),
    VALUE: re.compile(_WORD),
}

T = TypeVar("T", Interface, Method, Property, Signal, Enum, EnumValue)


class IdlError(BadRequest):
    """An interface file that does not say what it means; the text names file and element."""


@dataclass(frozen=True)
class _Element:
    """An XML element that knows where it stands, for the text of an error."""

    raw: ElementTree.Element
    where: str

    def fail(self, text: str) -> IdlError:
        return IdlError(f"{self.where}: {text}")

    def get(self, attribute: str) -> str:
        return self.raw.get(attribute, "")

    def children(self, tag: str) -> "list[_Element]":
        found = self.raw.findall(tag)
        return [_Element(child, f"{self.where}/{_label(child, n)}") for n, child in enumerate(found, 1)]

    @property
    def name(self) -> str:
        """The name attribute, checked against what D-Bus allows for this kind of element."""
        attribute = "suffix" if self.raw.tag == VALUE else "name"
        name = self.get(attribute)
        if len(name) > MAX_NAME or not _NAMES[self.raw.tag].fullmatch(name):
            raise self.fail(f"{attribute} {name[:60]!r} is not a valid {_short(self.raw.tag)} name")
        return name

    @property
    def type(self) -> str:
        try:
            return str(signature.single(self.get("type")))
        except InvalidArgs as error:
            raise self.fail(f"bad type: {error}") from None

    @property
    def doc(self) -> str:
        """What is written about the element, and about each argument as a list item."""
        lines = [self._own_doc()]
        for child in self.children("arg"):
            if about := child._own_doc():
                lines.append(f"- {child.name}: {about}" if child.name else f"- {about}")
        return "\n".join(lines).strip()

    def _own_doc(self) -> str:
        docs = self.children(DOC)
        if len(docs) > 1:
            raise self.fail("more than one tp:docstring")
        return doc_text(docs[0].raw) if docs else ""


def read_file(path: Path) -> IdlFile:
    """The interfaces of one file.  Raises IdlError, also when the file cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IdlError(f"{path}: {error.strerror}") from error
    return read_text(data, path.stem, str(path))


def read_text(xml: bytes | str, name: str, where: str = "") -> IdlFile:
    """The interfaces in `xml`; `name` becomes the file's name, `where` begins every error text."""
    where = where or name
    try:
        root = ElementTree.fromstring(xml)  # noqa: S314 -- files of the source tree, read at build time
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise IdlError(f"{where}: not readable XML: {error}") from error
    if root.tag != "node":
        raise IdlError(f"{where}: the root is {_short(root.tag)}, not node")
    node = _Element(root, f"{where}: node")
    _check_form(node)
    return _idl_file(node, name)


def _idl_file(node: _Element, name: str) -> IdlFile:
    interfaces = [_interface(child) for child in node.children("interface")]
    enum_elements = node.children(ENUM)
    for interface in node.children("interface"):
        enum_elements += interface.children(ENUM)
    return IdlFile(
        name,
        node.get("name"),
        _distinct(node, interfaces, lambda i: i.name),
        _distinct(node, map(_enum, enum_elements), lambda e: e.name),
        node.doc,
    )


def _interface(element: _Element) -> Interface:
    return Interface(
        element.name,
        _distinct(element, map(_method, element.children("method")), lambda m: m.name),
        _distinct(element, map(_property, element.children("property")), lambda p: p.name),
        _distinct(element, map(_signal, element.children("signal")), lambda s: s.name),
        element.doc,
    )


def _method(element: _Element) -> Method:
    ins: list[Arg] = []
    outs: list[Arg] = []
    for child in element.children("arg"):
        direction = child.raw.get("direction", "in")
        if direction not in ("in", "out"):
            raise child.fail(f"direction is {direction[:60]!r}, not in or out")
        (ins if direction == "in" else outs).append(_arg(child))
    return Method(element.name, _args(element, ins), _args(element, outs), element.doc)


def _signal(element: _Element) -> Signal:
    for child in element.children("arg"):
        if child.raw.get("direction", "out") != "out":
            raise child.fail("an argument of a signal goes out only")
    args = [_arg(child) for child in element.children("arg")]
    return Signal(element.name, _args(element, args), element.doc)


def _arg(element: _Element) -> Arg:
    return Arg(element.name, element.type)


def _args(element: _Element, args: list[Arg]) -> tuple[Arg, ...]:
    """Names within one direction must differ, unless empty; all of it must fit one signature."""
    names = [arg.name for arg in args if arg.name]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise element.fail(f"duplicate argument {min(twice)!r}")
    if sum(len(arg.type) for arg in args) > signature.MAX_LENGTH:
        raise element.fail(f"the arguments' types are longer than {signature.MAX_LENGTH} characters")
    return tuple(args)


def _property(element: _Element) -> Property:
    access = element.get("access")
    if access not in ACCESS:
        raise element.fail(f"access is {access[:60]!r}, not one of {', '.join(ACCESS)}")
    return Property(element.name, element.type, access, element.doc)


def _enum(element: _Element) -> Enum:
    kind = element.type
    if kind not in ("s", "b", *signature.INTEGERS) or kind == "h":
        raise element.fail(f"an enumeration cannot be of type {kind!r}")
    values = [EnumValue(child.name, _enum_value(child, kind), child.doc) for child in element.children(VALUE)]
    return Enum(element.name, kind, _distinct(element, values, lambda v: v.suffix), element.doc)


def _enum_value(element: _Element, kind: str) -> str | int:
    text = element.get("value")
    if kind == "s":
        return text
    if kind == "b" and text in ("true", "false"):
        return text == "true"
    low, high = signature.INTEGERS.get(kind, (1, 0))
    if re.fullmatch(r"-?[0-9]{1,20}", text) and low <= int(text) <= high:
        return int(text)
    raise element.fail(f"value {text[:60]!r} is not of type {kind}")


def _distinct(element: _Element, items: Iterable[T], name: Callable[[T], str]) -> tuple[T, ...]:
    """The items as a tuple.  Raises IdlError if two of them bear one name."""
    seen: dict[str, T] = {}
    for item in items:
        if name(item) in seen:
            raise element.fail(f"duplicate {type(item).__name__.lower()} {name(item)!r}")
        seen[name(item)] = item
    return tuple(seen.values())


def _check_form(element: _Element, depth: int = 0) -> None:
    """Raises IdlError for elements, attributes and text that GRAMMAR does not know, at any depth."""
    if depth > MAX_DEPTH:
        raise element.fail(f"nested deeper than {MAX_DEPTH}")
    required, optional, children = GRAMMAR[element.raw.tag]
    given = set(element.raw.attrib)
    for attribute in sorted(required - given):
        raise element.fail(f"attribute {attribute!r} is missing")
    for attribute in sorted(given - required - optional):
        raise element.fail(f"unknown attribute {_short(attribute)!r}")
    textual = element.raw.tag in TEXTUAL
    if not textual and _has_text(element.raw):
        raise element.fail("text outside a tp:docstring")
    for place, child in enumerate(element.raw, 1):
        if child.tag not in children:
            raise element.fail(f"unknown element {_short(child.tag)!r}")
        _check_form(_Element(child, f"{element.where}/{_label(child, place)}"), depth + 1)


def _has_text(raw: ElementTree.Element) -> bool:
    return any(text and text.strip() for text in (raw.text, *(child.tail for child in raw)))


def _label(raw: ElementTree.Element, place: int) -> str:
    """How an error calls an element: its tag and name, or its place when it has none."""
    return f"{_short(raw.tag)}[{raw.get('name') or raw.get('suffix') or place}]"


def _short(tag: str) -> str:
    return tag.replace(TP, "tp:")
