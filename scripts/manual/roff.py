# SPDX-License-Identifier: GPL-2.0-or-later
"""Text → lines of man(7).  Pure; knows no program.

The text of a page is plain: paragraphs are parted by an empty line, a line that begins with four blanks is an
example, `word` is shown as typed, and `name(8)` as the name of another page.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator

_MARKED = re.compile(r"`([^`]+)`|\b([a-z][a-z-]*)\(([18])\)")
LINE_LENGTH = 79
_SPECIAL = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti", "`": "\\(ga"}


def plain(text: str) -> str:
    """Characters as they stand, whatever roff or the terminal would make of them."""
    return "".join(_SPECIAL.get(char, char if char.isascii() else f"\\[u{ord(char):04X}]") for char in text)


def marked(text: str) -> str:
    """A line of text with what is typed and names of pages in bold."""
    found, at = [], 0
    for match in _MARKED.finditer(text):
        typed, page, section = match.groups()
        bold = f"\\fB{plain(typed or page)}\\fR"
        found += [plain(text[at : match.start()]), bold if typed else f"{bold}({section})"]
        at = match.end()
    return "".join([*found, plain(text[at:])])


def _filled(text: str) -> Iterator[str]:
    """Lines of a readable length."""
    lines = textwrap.wrap(marked(text), LINE_LENGTH, break_long_words=False, break_on_hyphens=False)
    return map(_guarded, lines)


def _guarded(line: str) -> str:
    """A dot at the beginning would be a command."""
    return f"\\&{line}" if line.startswith((".", "\\(aq")) else line


def paragraphs(text: str) -> Iterator[str]:
    """The lines of a section's text."""
    for number, block in enumerate(textwrap.dedent(text).strip("\n").split("\n\n")):
        lines = block.split("\n")
        if number:
            yield ".PP"
        if all(line.startswith("    ") for line in lines):
            yield from (".nf", ".RS 4", *(_guarded(plain(line[4:])) for line in lines), ".RE", ".fi")
        else:
            yield from _filled(" ".join(line.strip() for line in lines))


def terms(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What is typed, and what it does; the first may hold values, in capitals."""
    for typed, meaning in rows:
        yield ".TP"
        yield _guarded(_term(typed))
        yield from _filled(meaning)


def _term(typed: str) -> str:
    words = re.split(r"(\s+|,|\||\[|\])", typed)
    return "".join(_word(word) for word in words)


def _word(word: str) -> str:
    if not word.strip(" ,|[]…."):
        return plain(word)
    return (
        f"\\fI{plain(word)}\\fR" if word.isupper() and not word.startswith("-") else f"\\fB{plain(word)}\\fR"
    )
