# SPDX-License-Identifier: GPL-2.0-or-later
"""Our small codec, compared with dbus-fast's, and fed with garbage."""

import io
from typing import Any

import pytest
from dbus_fast import Message as TheirMessage
from dbus_fast import Variant as TheirVariant
from dbus_fast._private.unmarshaller import Unmarshaller
from hypothesis import given
from hypothesis import strategies as st

from openxt_bus.codec import CALL, CodecError, Message, decode, encode
from openxt_core.errors import InvalidArgs
from openxt_core.signature import INTEGERS, Type, Variant, single

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)

basic = st.sampled_from([*(set(INTEGERS) - {"h"}), "b", "d", "s"])
signatures = st.recursive(
    basic | st.just("v"),
    lambda inner: st.one_of(
        inner.map("a{}".format),
        st.lists(inner, min_size=1, max_size=3).map(lambda kinds: f"({''.join(kinds)})"),
        st.tuples(basic, inner).map(lambda pair: f"a{{{pair[0]}{pair[1]}}}"),
    ),
    max_leaves=5,
)


def values(kind: Type) -> st.SearchStrategy[Any]:
    code = kind.code
    if code in INTEGERS:
        return st.integers(*INTEGERS[code])
    if code == "a":
        return arrays(kind)
    if code == "(":
        return st.tuples(*map(values, kind.children)).map(list)
    if code == "v":
        return st.integers(-5, 5).map(lambda n: Variant("i", n)) | texts.map(lambda t: Variant("s", t))
    return {"b": st.booleans(), "d": st.floats(allow_nan=False), "s": texts}[code]


def arrays(kind: Type) -> st.SearchStrategy[Any]:
    inner = kind.children[0]
    if kind.is_dict:
        return st.dictionaries(values(inner.children[0]), values(inner.children[1]), max_size=3)
    if inner.code == "y":
        return st.binary(max_size=5)
    return st.lists(values(inner), max_size=3)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, list[Any]]:
    kinds = draw(st.lists(signatures, max_size=3))
    return "".join(kinds), [draw(values(single(kind))) for kind in kinds]


def theirs(value: Any) -> Any:
    """Our value as dbus-fast spells it."""
    if isinstance(value, Variant):
        return TheirVariant(value.signature, theirs(value.value))
    if isinstance(value, dict):
        return {key: theirs(item) for key, item in value.items()}
    return [theirs(item) for item in value] if isinstance(value, list) else value


def as_lists(value: Any) -> Any:
    """dbus-fast reads a struct as a tuple; here it is a list."""
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return [as_lists(item) for item in value] if isinstance(value, list | tuple) else value


def fields(signature: str) -> dict[int, Any]:
    return {1: "/a/b", 2: "com.example.Face", 3: "Do", 6: "com.example.Name", 8: signature}


@given(bodies())
def test_what_we_write_another_codec_reads(body: tuple[str, list[Any]]) -> None:
    raw = encode(Message(CALL, 7, fields(body[0]), body[1]))
    read = Unmarshaller(io.BytesIO(raw)).unmarshall()
    assert read is not None
    assert (read.path, read.member, read.serial, read.signature) == ("/a/b", "Do", 7, body[0])
    assert as_lists(read.body) == theirs(body[1])


@given(bodies())
def test_what_another_codec_writes_we_read(body: tuple[str, list[Any]]) -> None:
    message = TheirMessage(
        destination="com.example.Name",
        path="/a/b",
        member="Do",
        signature=body[0],
        body=theirs(body[1]),
        serial=3,
    )
    read = decode(bytes(message._marshall(False)))
    assert read.body == body[1]
    assert read.fields[3] == "Do"


def test_big_endian_messages_are_read() -> None:
    raw = bytes.fromhex("42010001 00000004 00000009 0000001f")
    raw += bytes.fromhex("01016f00 00000002 2f610000 00000000") + bytes.fromhex("08016700 01690000")
    raw += bytes.fromhex("0301730000000002446f000000000000")
    raw = raw[:12] + (len(raw) - 16 - 5).to_bytes(4, "big") + raw[16:] + (77).to_bytes(4, "big")
    read = decode(raw)
    assert (read.serial, read.body) == (9, [77])


@given(st.binary(max_size=200))
def test_random_bytes_raise_only_codec_errors(data: bytes) -> None:
    try:
        decode(data)
    except CodecError:
        pass


SAMPLE = encode(Message(CALL, 7, fields("a{sv}as"), [{"k": Variant("(iay)", [1, b"x"])}, ["a", "b"]]))


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=6))
def test_mutated_messages_raise_only_codec_errors(changes: list[tuple[int, int]]) -> None:
    broken = bytearray(SAMPLE)
    for at, byte in changes:
        broken[at] = byte
    try:
        decode(bytes(broken))
    except CodecError:
        pass


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        ("y", 256),
        ("i", True),
        ("s", 5),
        ("b", 1),
        ("as", ["a", 1]),
        ("(is)", [1]),
        ("a{si}", {"k": "v"}),
        ("u", -1),
    ],
)
def test_a_value_of_another_type_is_refused(signature: str, value: Any) -> None:
    with pytest.raises(InvalidArgs):
        encode(Message(CALL, 1, fields(signature), [value]))
