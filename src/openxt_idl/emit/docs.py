# SPDX-License-Identifier: GPL-2.0-or-later
"""One interface file → one Markdown page with all of its documentation.  Pure."""

from collections.abc import Iterable, Iterator

from openxt_core.spec import Arg, Enum, IdlFile, Interface, Property


def page(file: IdlFile) -> str:
    """The text of the page."""
    blocks = [f"# {_plain(file.name)}", _text(file.doc)]
    if file.node:
        blocks.append(f"Object path: `{file.node}`")
    for enum in file.enums:
        blocks += _enum(enum)
    for interface in file.interfaces:
        blocks += _interface(interface)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _interface(interface: Interface) -> Iterator[str]:
    yield f"## Interface `{interface.name}`"
    yield _text(interface.doc)
    for method in interface.methods:
        yield from (f"### Method `{method.name}`", _text(method.doc))
        yield _arguments([*((arg, "in") for arg in method.ins), *((arg, "out") for arg in method.outs)])
    for signal in interface.signals:
        yield from (f"### Signal `{signal.name}`", _text(signal.doc))
        yield _arguments([(arg, "") for arg in signal.args])
    yield _properties(interface.properties)


def _arguments(args: list[tuple[Arg, str]]) -> str:
    rows = [(f"`{arg.name}`" if arg.name else "", f"`{arg.type}`", direction) for arg, direction in args]
    return _table(("argument", "type", "direction"), rows)


def _properties(properties: tuple[Property, ...]) -> str:
    rows = [(f"`{p.name}`", f"`{p.type}`", p.access, _plain(p.doc)) for p in properties]
    return _table(("property", "type", "access", "meaning"), rows)


def _enum(enum: Enum) -> Iterator[str]:
    yield f"## Enumeration `{enum.name}` (`{enum.type}`)"
    yield _text(enum.doc)
    rows = [(f"`{v.suffix}`", f"`{v.value}`" if v.value != "" else "", _plain(v.doc)) for v in enum.values]
    yield _table(("name", "value", "meaning"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines]) if lines else ""


def _text(doc: str) -> str:
    """A documentation text as Markdown paragraphs and lists."""
    lines = doc.split("\n")
    marked = [f"- {_escaped(line[2:])}" if line.startswith("- ") else _escaped(line) for line in lines]
    return "\n".join(marked).replace("\n- ", "\n\n- ", 1)


def _plain(doc: str) -> str:
    """A documentation text on one line, as a table cell needs it."""
    return " ".join(_escaped(doc).split())


def _escaped(text: str) -> str:
    for sign in "\\`*_<>[]|":
        text = text.replace(sign, "\\" + sign)
    return text
