# SPDX-License-Identifier: GPL-2.0-or-later
"""How a half-typed line is cut into words, and how a candidate is written into it."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_xec.completion import for_bash, split


@pytest.mark.parametrize(
    ("line", "words", "quote"),
    [
        ("", [""], ""),
        ("xec ", ["xec", ""], ""),
        ("xec a\\ b", ["xec", "a b"], ""),
        ("xec 'a b", ["xec", "a b"], "'"),
        ('xec "a\'b" "', ["xec", "a'b", ""], '"'),
    ],
)
def test_a_line_is_cut_where_a_shell_cuts_it(line: str, words: list[str], quote: str) -> None:
    assert split(line) == (words, quote)


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1), max_size=4)
)
def test_quoted_words_come_back(words: list[str]) -> None:
    assert split("".join(shlex.quote(word) + " " for word in words)) == ([*words, ""], "")


@given(st.text())
def test_any_line_can_be_cut(line: str) -> None:
    words, quote = split(line)
    assert words
    assert quote in ("", "'", '"')


@pytest.mark.parametrize(
    ("candidate", "partial", "quote", "written"),
    [
        ("stopped one", "st", "", "stopped\\ one"),
        ("stopped one", "st", '"', "stopped one"),
        ("a:b c", "a:", "", "b\\ c"),
        ("$(evil)", "", "", "\\$\\(evil\\)"),
    ],
)
def test_bash_gets_what_it_can_put_into_the_line(
    candidate: str, partial: str, quote: str, written: str
) -> None:
    assert for_bash(candidate, partial, quote) == written
