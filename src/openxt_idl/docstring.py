# SPDX-License-Identifier: GPL-2.0-or-later
"""Documentation in an interface file: XML with a little markup ↔ plain text.  Pure.

Plain text is what the tables carry: paragraphs separated by a blank line, list items on lines
that begin with "- ".  White space within a paragraph means nothing.
"""

import re
from xml.etree import ElementTree

BLOCKS = ("p", "ul", "ol", "li")
_SENTENCE = re.compile(r"(.+?[.!?])(?:\s|$)")


def doc_text(raw: ElementTree.Element) -> str:
    """The text of a docstring element."""
    blocks: list[str] = []
    _collect(raw, "", blocks)
    text = ""
    for block in blocks:
        joint = "\n" if block.startswith("- ") and text else "\n\n"
        text += (joint if text else "") + block
    return text


def _collect(raw: ElementTree.Element, mark: str, blocks: list[str]) -> None:
    _add(raw.text, mark, blocks)
    for child in raw:
        _collect(child, "- " if child.tag == "li" else "", blocks)
        _add(child.tail, "", blocks)


def _add(text: str | None, mark: str, blocks: list[str]) -> None:
    words = (text or "").split()
    if words:
        blocks.append(mark + " ".join(words))


def first_sentence(doc: str) -> str:
    """The first sentence of a text, on one line; all of the first paragraph if it has no end."""
    paragraph = " ".join(doc.split("\n\n")[0].split())
    found = _SENTENCE.match(paragraph)
    return found.group(1) if found else paragraph
