# SPDX-License-Identifier: GPL-2.0-or-later
"""Bodies and messages in both forms: what goes out comes back, and nothing goes out that may not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_bus import message as codec
from openxt_core.errors import InvalidArgs, NotSupported, RemoteError, UnknownObject, VmBadState
from openxt_core.signature import INTEGERS, Type, Variant, parse

BASIC_CODES = "ynqiuxtbdsog"
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
paths = st.lists(st.text("abcXYZ_09", min_size=1, max_size=5), max_size=4).map(lambda e: "/" + "/".join(e))
basic_types = st.sampled_from(BASIC_CODES)
types = st.recursive(
    basic_types | st.just("v"),
    lambda inner: (
        inner.map(lambda one: "a" + one)
        | st.lists(inner, min_size=1, max_size=3).map(lambda many: f"({''.join(many)})")
        | st.tuples(basic_types, inner).map(lambda pair: "a{" + "".join(pair) + "}")
    ),
    max_leaves=5,
)


def values(kind: Type, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a type, as our side spells them."""
    if kind.code in INTEGERS:
        return st.integers(*INTEGERS[kind.code])
    if kind.code in _PLAIN:
        return _PLAIN[kind.code]
    if kind.code == "v":
        return _variants(depth)
    if kind.code == "(":
        return st.tuples(*(values(child, depth) for child in kind.children)).map(list)
    if kind.is_dict:
        key, item = kind.children[0].children
        return st.dictionaries(values(key, depth), values(item, depth), max_size=3)
    if kind.children[0].code == "y":
        return st.binary(max_size=8)
    return st.lists(values(kind.children[0], depth), max_size=3)


_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "b": st.booleans(),
    "d": st.floats(allow_nan=False),
    "s": texts,
    "o": paths,
    "g": st.lists(types, max_size=2).map("".join),
}


def _variants(depth: int) -> st.SearchStrategy[Variant]:
    kinds = basic_types if depth > 2 else types
    return kinds.flatmap(lambda one: values(parse(one)[0], depth + 1).map(lambda value: Variant(one, value)))


bodies = (
    st.lists(types, max_size=3)
    .map("".join)
    .flatmap(lambda signature: st.tuples(st.just(signature), st.tuples(*map(values, parse(signature)))))
)


def call(signature: str, body: Any) -> bytes:
    return codec.method_call(7, ("org.test", "/a/b", "org.test.I", "member"), signature, body)


@given(bodies)
def test_a_body_arrives_as_it_was_sent(sent: tuple[str, tuple[Any, ...]]) -> None:
    signature, body = sent
    received = codec.parse_message(call(signature, body))
    assert received.signature == signature
    assert list(codec.decode(received.body, received.signature)) == list(body)


@given(bodies)
def test_a_reply_is_the_same_message_as_the_codec_would_make(sent: tuple[str, tuple[Any, ...]]) -> None:
    signature, body = sent
    request = codec.parse_message(call("", ()))
    request.sender = ":1.42"
    reply = codec.parse_message(codec.method_return(9, request, signature, body))
    assert (reply.serial, reply.reply_serial, reply.destination) == (9, 7, ":1.42")
    assert (reply.message_type.name, reply.signature) == ("METHOD_RETURN", signature)
    assert list(codec.decode(reply.body, reply.signature)) == list(body)


@given(bodies)
def test_a_signal_is_the_same_message_as_the_codec_would_make(sent: tuple[str, tuple[Any, ...]]) -> None:
    signature, body = sent
    signal = codec.parse_message(codec.signal(9, ("/a/bc", "org.test.I", "member"), signature, body))
    assert (signal.path, signal.interface, signal.member) == ("/a/bc", "org.test.I", "member")
    assert (signal.message_type.name, signal.serial, signal.signature) == ("SIGNAL", 9, signature)
    assert list(codec.decode(signal.body, signal.signature)) == list(body)


@pytest.mark.parametrize("sender", [None, ":1.42"])
def test_an_error_goes_to_who_called(sender: str | None) -> None:
    request = codec.parse_message(call("", ()))
    request.sender = sender
    reply = codec.parse_message(codec.error_reply(9, request, "org.test.Error.No", "because"))
    assert (reply.message_type.name, reply.serial, reply.reply_serial) == ("ERROR", 9, 7)
    assert (reply.destination, reply.error_name, reply.body) == (sender, "org.test.Error.No", ["because"])


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        ("s", 5),
        ("s", None),
        ("s", "nul \0"),
        ("s", "half \ud800"),
        ("i", "five"),
        ("i", 2**31),
        ("y", 256),
        ("y", -1),
        ("u", -1),
        ("d", "x"),
        ("as", "abc"[0:0] or 5),
        ("as", [1]),
        ("a{ss}", ["a"]),
        ("a{si}", {"a": "b"}),
        ("o", ""),
        ("o", "no/slash"),
        ("o", "/trailing/"),
        ("o", "/a-b"),
        ("ao", ["/a", "b"]),
        ("g", "a"),
        ("g", "("),
        ("(ss)", ["only one"]),
        ("(ss)", ["one", "two", "three"]),
        ("a(si)", [["a", 1], ["b"]]),
        ("v", "bare"),
        ("v", Variant("ss", "two types")),
        ("v", Variant("", "")),
        ("v", Variant("i", "text")),
        ("v", Variant("o", "text")),
    ],
)
def test_what_does_not_fit_its_signature_is_never_sent(signature: str, value: Any) -> None:
    request = codec.parse_message(call("", ()))
    with pytest.raises(InvalidArgs):
        call(signature, (value,))
    with pytest.raises(RuntimeError, match="the reply does not fit its type"):  # no caller's fault
        codec.method_return(1, request, signature, (value,))
    with pytest.raises(InvalidArgs):
        codec.signal(1, ("/", "org.test.I", "m"), signature, (value,))


@pytest.mark.parametrize("body", [(), ("a", "b")])
def test_a_body_has_as_many_values_as_its_signature(body: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgs, match="1 arguments expected"):
        call("s", body)


@pytest.mark.parametrize(
    "target",
    [
        ("", "/", "org.test.I", "m"),
        ("org.test", "relative", "org.test.I", "m"),
        ("org.test", "/", "noDots", "m"),
        ("org.test", "/", "org.test.I", "with-dash"),
        ("org.test", "/", "org.test.I", ""),
        ("not a name", "/", "org.test.I", "m"),
        ("org.test\n", "/", "org.test.I", "m"),
        ("org.test", "/", "org.test.I", "m\n"),
        ("org.test", "/a\n", "org.test.I", "m"),
        ("org.test", "/", "org.test.I", "m" * 256),
    ],
)
def test_names_that_the_bus_would_cut_us_off_for_are_refused_here(target: codec.Target) -> None:
    with pytest.raises(InvalidArgs):
        codec.method_call(1, target, "", ())


@pytest.mark.parametrize("interface", ["", "noDots"])
def test_a_signal_names_its_interface(interface: str) -> None:
    with pytest.raises(InvalidArgs):
        codec.signal(1, ("/", interface, "m"), "", ())


@pytest.mark.parametrize("name", [":1.5", "org.test", "com.citrix.xenclient.rpc_proxy.p12", "a-b.c-d"])
def test_bus_names_of_both_kinds_can_be_called(name: str) -> None:
    received = codec.parse_message(codec.method_call(1, (name, "/", "a.b", "m"), "", ()))
    assert received.destination == name


def test_a_call_may_leave_out_the_interface() -> None:
    received = codec.parse_message(codec.method_call(1, ("org.test", "/", "", "member"), "", ()))
    assert received.interface is None


@pytest.mark.parametrize("damaged", [b"", call("s", ["text"])[:-3], b"x" + call("", ())[1:], bytes(64)])
def test_bytes_that_are_no_message_are_told_by_the_listed_errors(damaged: bytes) -> None:
    with pytest.raises(codec.UNREADABLE):
        codec.parse_message(damaged)


def test_expected_errors_travel_with_their_name_and_text() -> None:
    assert codec.error_words(UnknownObject("/vm/x")) == ("org.freedesktop.DBus.Error.UnknownObject", "/vm/x")
    assert codec.error_words(NotSupported("no")) == ("org.freedesktop.DBus.Error.NotSupported", "no")
    assert codec.error_words(RemoteError("a.b.C", "t")) == ("a.b.C", "t")


def test_numbered_errors_travel_as_failed_with_their_number() -> None:
    name, text = codec.error_words(VmBadState("is running"))
    assert (name, text) == (codec.FAILED, "102:is running")


def test_a_bug_travels_without_details() -> None:
    assert codec.error_words(KeyError("secret")) == (codec.FAILED, "internal error")


@pytest.mark.parametrize("name", ["", "nodots", "a..b", "a.b c", "1.2", "x." * 200 + "y"])
def test_an_error_name_that_may_not_travel_becomes_failed(name: str) -> None:
    request = codec.parse_message(call("", ()))
    reply = codec.parse_message(codec.error_reply(3, request, name, "text\0 \ud800"))
    assert (reply.error_name, reply.body) == (codec.FAILED, ["text ?"])
    assert codec.remote_error(reply).text == "text ?"
