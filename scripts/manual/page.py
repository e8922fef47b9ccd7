# SPDX-License-Identifier: GPL-2.0-or-later
"""One manual page: what it consists of, and its text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from manual.options import Row
from manual.roff import marked, paragraphs, plain, terms


@dataclass(frozen=True)
class Page:
    """`also`: other names of the program, which lead to this page.  `sections`: title → text."""

    name: str
    section: int
    summary: str
    synopsis: Sequence[str]
    description: str
    options: Sequence[Row] = ()
    commands: Sequence[tuple[str, str, Sequence[Row]]] = ()
    sections: dict[str, str] = field(default_factory=dict)
    files: Sequence[Row] = ()
    environment: Sequence[Row] = ()
    status: Sequence[Row] = ()
    see: Sequence[str] = ()
    also: Sequence[str] = ()

    @property
    def file(self) -> str:
        return self.place(self.name)

    def place(self, name: str) -> str:
        """Where man(1) looks for the page of that name, below a folder of manuals."""
        return f"man{self.section}/{name}.{self.section}"


def text_of(page: Page) -> str:
    return "\n".join((*_lines(page), ""))


def alias_of(page: Page) -> str:
    """What the file of another name holds."""
    return f".so {page.file}\n"


def _lines(page: Page) -> Iterator[str]:
    yield '.\\" SPDX-License-Identifier: GPL-2.0-or-later'
    yield ".\\\" Made by `make man` from scripts/manual and the program's own option table: change those."
    yield f'.TH {page.name.upper()} {page.section} "" "OpenXT toolstack" "OpenXT"'
    yield ".SH NAME"
    yield f"{plain(', '.join((page.name, *page.also)))} \\- {plain(page.summary)}"
    yield ".SH SYNOPSIS"
    for number, line in enumerate(page.synopsis):
        yield from ((".br",) if number else ())
        yield marked(line)
    yield ".SH DESCRIPTION"
    yield from paragraphs(page.description)
    yield from _table("OPTIONS", page.options)
    if page.commands:
        yield ".SH COMMANDS"
        for name, meaning, rows in page.commands:
            yield f".SS {plain(name)}"
            yield marked(meaning)
            yield from terms(rows)
    for title, text in page.sections.items():
        yield f".SH {title.upper()}"
        yield from paragraphs(text)
    yield from _table("FILES", page.files)
    yield from _table("ENVIRONMENT", page.environment)
    yield from _table("EXIT STATUS", page.status)
    if page.see:
        yield ".SH SEE ALSO"
        yield marked(", ".join(page.see))


def _table(title: str, rows: Sequence[Row]) -> Iterator[str]:
    if rows:
        yield f".SH {title}"
        yield from terms(rows)
