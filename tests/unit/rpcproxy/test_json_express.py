# SPDX-License-Identifier: GPL-2.0-or-later
"""The quick way from JSON to D-Bus and back gives what the slow way gives, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_bus.codec import RETURN, Message, decode, encode
from openxt_core.errors import InvalidArgs
from openxt_rpcproxy.json_express import Answers, Requests
from openxt_rpcproxy.json_form import message, read, write

WHERE = {"destination": "a.A", "path": "/p", "interface": "i.I", "method": "m"}
values = st.one_of(
    st.text(max_size=8), st.integers(-3, 2**33), st.booleans(), st.none(), st.lists(st.text(), max_size=2)
)
texts = st.fixed_dictionaries(
    {"id": st.one_of(st.integers(-1, 2**33), st.text(max_size=3)), "args": st.lists(values, max_size=3)},
    optional={
        "type": st.sampled_from(["request", "signal", 7]),
        "dbus-signature": st.just("s"),
        "path": st.text(),
    },
)


def slow(text: bytes, signature: str) -> bytes:
    incoming = read(text)
    return message(incoming, incoming.signature or signature)


@given(texts, st.sampled_from(["", "s", "ss", "u", "as", "sb"]))
def test_a_request_becomes_the_same_message_or_goes_the_slow_way(
    some: dict[str, Any], signature: str
) -> None:
    requests = Requests()
    requests.keep(read(json.dumps({"id": 1, "args": [], **WHERE}).encode()), signature)
    text = json.dumps(WHERE | some).encode()
    for quick in requests.messages([text]):
        assert quick == slow(text, signature)


HEAD = b'"destination":"a.A","method":"m","path":"/p","interface":"i.I",'
numbers = st.sampled_from(
    [b"7", b"0", b"07", b"-1", b"1.0", b"1e2", b'"7"', b"999999999", b"4294967296", b""]
)
heads = st.sampled_from([HEAD, HEAD[:-1] + b", ", HEAD.replace(b"/p", b"/\\/p"), HEAD + b'"type":"signal",'])
arguments = st.one_of(
    st.lists(st.text(max_size=5), max_size=3).map(lambda some: json.dumps(some).encode()),
    st.lists(st.text(max_size=5), max_size=3).map(lambda some: json.dumps(some, ensure_ascii=False).encode()),
    st.lists(values, max_size=3).map(lambda some: json.dumps(some, separators=(",", ":")).encode()),
    st.sampled_from(
        [b'["a"]', b'["a","b"]', b'["a\\u0000"]', b'["a\\",\\"b"]', b'["\x7f\x1f"]', b'[""]', b'["]']
    ),
)
ends = st.sampled_from([b"}", b'}"]}', b',"path":"/q"}', b"} ", b"", b',"args":["c"]}'])


@given(
    st.lists(st.tuples(numbers, heads, arguments, ends), min_size=1, max_size=5),
    st.sampled_from(["s", "ss", "sss"]),
)
def test_a_text_written_like_an_earlier_one_becomes_the_same_message_or_goes_the_slow_way(
    some: list[tuple[bytes, bytes, bytes, bytes]], signature: str
) -> None:
    requests = Requests()
    first = b'{"id":1,' + HEAD + b'"args":' + json.dumps(["x"] * len(signature)).encode() + b"}"
    requests.keep(read(first), signature)
    assert requests.messages([first]) == [slow(first, signature)]
    for number, head, args, end in some:
        text = b'{"id":' + number + b"," + head + b'"args":' + args + end
        for quick in requests.messages([text]):
            assert quick == slow(text, signature)


@pytest.mark.parametrize("rest", [b"", b'"', b'"]}', b"]}", b'"x', b'"]', b'x"]}', b'"x"]}x', b'"x","y"]}'])
def test_a_text_that_breaks_off_or_has_other_arguments_goes_the_slow_way(rest: bytes) -> None:
    requests = Requests()
    start = b'{"id":1,' + HEAD + b'"args":['
    requests.keep(read(start + b'"x"]}'), "s")
    assert requests.messages([start + b'"x"]}'])
    assert requests._shapes
    for quick in requests.messages([start + rest]):
        assert quick == slow(start + rest, "s")


def test_a_plain_request_goes_the_quick_way() -> None:
    requests = Requests()
    text = json.dumps({"id": 9, "args": ["ü", ""], **WHERE}).encode()
    assert requests.messages([text]) == []
    requests.keep(read(text), "ss")
    assert requests.messages([text]) == [slow(text, "ss")]
    assert requests.messages([text.replace(b'"m"', b'"n"')]) == []


bodies = st.one_of(
    st.tuples(
        st.just("s"), st.tuples(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
    ),
    st.tuples(st.just("as"), st.tuples(st.lists(st.sampled_from(["", "a"]), max_size=3))),
    st.tuples(st.just("ub"), st.tuples(st.integers(0, 2**32 - 1), st.booleans())),
    st.just(("", ())),
)


@given(st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1), bodies)
def test_an_answer_becomes_the_same_text(
    serial: int, answers: int, body: tuple[str, tuple[Any, ...]]
) -> None:
    signature, args = body
    fields = {5: 3, 6: ":1.7", 8: signature, 7: ":1.1"}
    quick = Answers()
    quick.keep(encode(Message(RETURN, 2, fields, args)), signature)
    data = encode(Message(RETURN, serial, {**fields, 5: answers}, args))
    asked: list[bytes] = []
    (text,) = quick.texts(data, lambda message: asked.append(message) or b"{}")
    assert not asked
    assert json.loads(text) == json.loads(write(decode(data), serial))


def test_an_answer_that_lies_about_its_body_is_left_to_the_slow_way() -> None:
    fields = {5: 3, 6: ":1.7", 8: "s"}
    good = encode(Message(RETURN, 2, fields, ("four",)))
    quick = Answers()
    quick.keep(good, "s")
    for bad in (good[:-1] + b"x", good[:-4] + b"\0" + good[-3:], good[:-9] + b"\x09" + good[-8:]):
        assert list(quick.texts(bad, lambda _: b"slow")) == [b"slow"]


def test_a_name_that_is_none_is_not_kept() -> None:
    requests = Requests()
    incoming = read(json.dumps({"id": 1, "args": [], **WHERE, "destination": "no name"}).encode())
    with pytest.raises(InvalidArgs):
        requests.keep(incoming, "")
    text = json.dumps({"id": 1, "args": [], **WHERE, "destination": "no name"}).encode()
    assert requests.messages([text]) == []
