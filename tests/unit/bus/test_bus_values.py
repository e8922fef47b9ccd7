# SPDX-License-Identifier: GPL-2.0-or-later
"""Words of a command line become values of the type that the method wants, or are refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_bus.values import value_of
from openxt_core.errors import InvalidArgs
from openxt_core.signature import Variant, check, single

GOOD = [
    ("s", 'a "b" c', 'a "b" c'),
    ("s", "", ""),
    ("s", "\\n 'x", "\\n 'x"),
    ("o", "/vm/a_b", "/vm/a_b"),
    ("g", "a{sv}", "a{sv}"),
    ("i", "-5", -5),
    ("i", "0x680", 0x680),
    ("i", "007", 7),
    ("y", "255", 255),
    ("x", "-9223372036854775808", -(2**63)),
    ("t", "18446744073709551615", 2**64 - 1),
    ("d", "-1", -1.0),
    ("d", "0.25", 0.25),
    ("b", "1", True),
    ("b", "true", True),
    ("b", "0", False),
    ("b", "false", False),
    ("as", """["a", 'b\\'c']""", ["a", "b'c"]),
    ("as", "[]", []),
    ("as", ' [ "a" , "b" ] ', ["a", "b"]),
    ("as", r'["a\\b\n\"c"]', ['a\\b\\n"c']),
    ("as", """["it's"]""", ["it's"]),
    ("ao", '["/", "/a"]', ["/", "/a"]),
    ("ai", "[1,-2,0x3]", [1, -2, 3]),
    ("ay", "[1,2,255]", b"\x01\x02\xff"),
    ("ay", "[]", b""),
    ("a{ss}", """{"k": "v", 'x':'y'}""", {"k": "v", "x": "y"}),
    ("a{ss}", "{}", {}),
    ("a{ib}", "{1: true, 2:0}", {1: True, 2: False}),
    ("(si)", '["n", 3]', ["n", 3]),
    ("a(ss)", '[["a","b"],["c","d"]]', [["a", "b"], ["c", "d"]]),
    ("aa{ss}", '[{"a":"b"},{}]', [{"a": "b"}, {}]),
    ("v", "true", Variant("b", True)),
    ("v", "5", Variant("i", 5)),
    ("v", "5000000000", Variant("x", 5000000000)),
    ("v", "18446744073709551615", Variant("t", 2**64 - 1)),
    ("v", "1.5", Variant("d", 1.5)),
    ("v", "a word", Variant("s", "a word")),
    ("v", "", Variant("s", "")),
    ("v", "http://x", Variant("s", "http://x")),
    ("v", "1.2.3", Variant("s", "1.2.3")),
    ("v", "s:5", Variant("s", "5")),
    ("v", "u:5", Variant("u", 5)),
    ("v", 'as:["a"]', Variant("as", ["a"])),
    ("v", "v:u:5", Variant("v", Variant("u", 5))),
    ("a{sv}", """{"a": "t:x", "b": 5, "c": y:6, "d": as:["x"], "e": false}""", {
        "a": Variant("s", "t:x"),
        "b": Variant("i", 5),
        "c": Variant("y", 6),
        "d": Variant("as", ["x"]),
        "e": Variant("b", False),
    }),
]  # fmt: skip

BAD = [
    ("i", ""),
    ("i", "+5"),
    ("i", "12ab"),
    ("i", "1_000"),
    ("i", "٣"),
    ("i", "0x"),
    ("i", "0xg"),
    ("i", "--5"),
    ("i", "2147483648"),
    ("i", "9" * 5000),
    ("u", "-1"),
    ("y", "256"),
    ("d", "."),
    ("d", "1."),
    ("d", "1e5"),
    ("d", "nan"),
    ("d", "9" * 400),
    ("b", "truest"),
    ("b", "2"),
    ("b", ""),
    ("o", ""),
    ("o", "vm"),
    ("o", "/vm/"),
    ("o", "/a-b"),
    ("g", "z"),
    ("s", "\udcff"),
    ("as", ""),
    ("as", "a"),
    ("as", "[a]"),
    ("as", '["a"'),
    ("as", '["a]'),
    ("as", '["a",]'),
    ("as", '["a" "b"]'),
    ("as", '["a"] x'),
    ("ao", '["x"]'),
    ("ay", "[256]"),
    ("ay", "[-1]"),
    ("a{ss}", '{"a"}'),
    ("a{ss}", '{"a":}'),
    ("a{ss}", '["a"]'),
    ("(si)", '["n"]'),
    ("(si)", '["n",1,2]'),
    ("v", "i:x"),
    ("av", "[word]"),
]


@pytest.mark.parametrize(("signature", "word", "value"), GOOD)
def test_a_word_is_read_by_its_signature(signature: str, word: str, value: Any) -> None:
    found = value_of(word, signature)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("signature", "word"), BAD)
def test_a_word_that_does_not_fit_is_refused(signature: str, word: str) -> None:
    with pytest.raises(InvalidArgs):
        value_of(word, signature)


@given(
    st.sampled_from([*"ybnqiuxtdsogv", "as", "ay", "a{ss}", "a{sv}", "(si)", "aa{ss}", "a(ov)", "av"]),
    st.text("""[]{}(),:"'\\ 0123456789.-xasvtrue/""") | st.text(),
)
def test_any_word_is_either_a_value_of_the_type_or_refused(signature: str, word: str) -> None:
    try:
        value = value_of(word, signature)
    except InvalidArgs:
        return
    check(value, single(signature))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.integers(0, 9)
    )
)
def test_quoted_texts_are_read_back_whatever_they_hold(entries: dict[str, int]) -> None:
    word = ", ".join(f"{_quoted(key)}: {value}" for key, value in entries.items())
    assert value_of("{" + word + "}", "a{sy}") == entries
