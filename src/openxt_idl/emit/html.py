# SPDX-License-Identifier: GPL-2.0-or-later
"""Interface files → HTML pages with all of their documentation, and an index of them.  Pure.

Each page stands alone: no script, one small style sheet inside, an anchor for every member.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from openxt_core.spec import Arg, Enum, IdlFile, Interface, Property
from openxt_idl.docstring import first_sentence

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }}
code {{ font-family: ui-monospace, monospace; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; }}
th, td {{ border: 1px solid #8886; padding: .25rem .5rem; text-align: left; vertical-align: top; }}
h3 {{ margin-bottom: 0; }}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def page(file: IdlFile) -> str:
    """The text of one file's page."""
    body = [
        '<nav><a href="index.html">All interfaces</a></nav>',
        f"<h1>{escape(file.name)}</h1>",
        *_text(file.doc),
        *([f"<p>Object path: <code>{escape(file.node)}</code></p>"] if file.node else []),
        *(line for enum in file.enums for line in _enum(enum)),
        *(line for interface in file.interfaces for line in _interface(interface)),
    ]
    return PAGE.format(title=escape(file.name), body="\n".join(body))


def index(files: Iterable[IdlFile]) -> str:
    """The page that leads to the others."""
    rows = [
        (_link(file, interface), escape(first_sentence(interface.doc)))
        for file in files
        for interface in file.interfaces
    ]
    body = ["<h1>D-Bus interfaces</h1>", *_table(("interface", "what it is for"), rows)]
    return PAGE.format(title="D-Bus interfaces", body="\n".join(body))


def _link(file: IdlFile, interface: Interface) -> str:
    return f'<a href="{escape(file.name)}.html#{escape(interface.name)}">{_code(interface.name)}</a>'


def _interface(interface: Interface) -> Iterator[str]:
    yield f'<h2 id="{escape(interface.name)}"><code>{escape(interface.name)}</code></h2>'
    yield from _text(interface.doc)
    for method in interface.methods:
        yield _heading(interface, "method", method.name)
        yield from _text(method.doc)
        yield from _arguments([*((arg, "in") for arg in method.ins), *((arg, "out") for arg in method.outs)])
    for signal in interface.signals:
        yield _heading(interface, "signal", signal.name)
        yield from _text(signal.doc)
        yield from _arguments([(arg, "") for arg in signal.args])
    yield from _properties(interface)


def _heading(interface: Interface, kind: str, name: str) -> str:
    return f'<h3 id="{escape(interface.name)}.{escape(name)}">{kind} <code>{escape(name)}</code></h3>'


def _arguments(args: list[tuple[Arg, str]]) -> Iterator[str]:
    rows = [(_code(arg.name), _code(arg.type), direction) for arg, direction in args]
    return _table(("argument", "type", "direction"), rows)


def _properties(interface: Interface) -> Iterator[str]:
    def name(prop: Property) -> str:
        return f'<code id="{escape(interface.name)}.{escape(prop.name)}">{escape(prop.name)}</code>'

    rows = [(name(p), _code(p.type), p.access, " ".join(_text(p.doc))) for p in interface.properties]
    return _table(("property", "type", "access", "meaning"), rows)


def _enum(enum: Enum) -> Iterator[str]:
    yield f"<h2>enumeration {_code(enum.name)} ({_code(enum.type)})</h2>"
    yield from _text(enum.doc)
    rows = [(_code(v.suffix), _code(str(v.value)), " ".join(_text(v.doc))) for v in enum.values]
    yield from _table(("name", "value", "meaning"), rows)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """`rows` hold markup."""
    if rows:
        yield "<table><thead><tr>" + "".join(f"<th>{word}</th>" for word in head) + "</tr></thead><tbody>"
        yield from ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
        yield "</tbody></table>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>" if text else ""


def _text(doc: str) -> Iterator[str]:
    """A documentation text as paragraphs and lists."""
    for block in filter(None, doc.split("\n\n")):
        plain = [line for line in block.split("\n") if not line.startswith("- ")]
        items = [line[2:] for line in block.split("\n") if line.startswith("- ")]
        if plain:
            yield f"<p>{escape(' '.join(plain))}</p>"
        if items:
            yield "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
