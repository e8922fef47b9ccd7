# SPDX-License-Identifier: GPL-2.0-or-later
"""Documentation texts and the layout of code: the two small pure parts of the generator."""

import ast
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.spec import Arg, Enum, EnumValue, IdlFile, Interface, Method, Property, Signal
from openxt_idl.docstring import doc_text, first_sentence
from openxt_idl.emit.docs import page
from openxt_idl.emit.layout import WIDTH, Group, lines, quoted


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("  two\n   words ", "two words"),
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("some:<ul><li>a</li><li>b</li></ul>end", "some:\n- a\n- b\n\nend"),
        ("<ul><li>a</li></ul>", "- a"),
        ("", ""),
    ],
)
def test_markup_becomes_paragraphs_and_list_items(markup: str, text: str) -> None:
    assert doc_text(ElementTree.fromstring(f"<doc>{markup}</doc>")) == text


@pytest.mark.parametrize(
    ("doc", "sentence"),
    [
        ("One. Two.", "One."),
        ("File a.xml, version 1.5: read it. More.", "File a.xml, version 1.5: read it."),
        ("No end\n\nSecond.", "No end"),
        ("Head\n- item. x", "Head - item."),
        ("", ""),
    ],
)
def test_the_first_sentence_ends_where_a_person_would_end_it(doc: str, sentence: str) -> None:
    assert first_sentence(doc) == sentence


def test_what_fits_stays_on_one_line() -> None:
    assert lines(Group("f(", ["1", Group("(", ["2"], ")")], ")")) == ["f(1, (2,))"]


def test_what_does_not_fit_goes_one_item_a_line() -> None:
    long = "x" * WIDTH
    assert lines(Group("f(", ["1", long], ")")) == ["f(", "    1,", f"    {long},", ")"]


@given(st.text())
def test_a_quoted_text_is_that_text(text: str) -> None:
    assert ast.literal_eval(quoted(text)) == text


def test_a_page_shows_every_member_with_its_meaning() -> None:
    file = IdlFile(
        "lamp",
        "/lamp",
        (
            Interface(
                "a.lamp",
                (Method("on", (Arg("room", "s"),), (Arg("", "b"),), "Light.\n- room: Which one."),),
                (Property("level", "i", "read", "In percent | of all."),),
                (Signal("dark", doc="Night."),),
                "One lamp.",
            ),
        ),
        (Enum("MODE", "s", (EnumValue("DIM", "dim", "Not bright."),)),),
        "Lamps.",
    )
    assert (
        page(file)
        == """\
# lamp

Lamps.

Object path: `/lamp`

## Enumeration `MODE` (`s`)

| name | value | meaning |
|---|---|---|
| `DIM` | `dim` | Not bright. |

## Interface `a.lamp`

One lamp.

### Method `on`

Light.

- room: Which one.

| argument | type | direction |
|---|---|---|
| `room` | `s` | in |
|  | `b` | out |

### Signal `dark`

Night.

| property | type | access | meaning |
|---|---|---|---|
| `level` | `i` | read | In percent \\| of all. |
"""
    )
