# SPDX-License-Identifier: GPL-2.0-or-later
"""Rewritten messages: what changes, and that nothing else does."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_bus.codec import DESTINATION, INTERFACE, PATH, SENDER, Message, decode, encode
from openxt_bus.framing import FramingError, scan
from openxt_core.errors import InvalidArgs
from openxt_core.ids import parse_uuid
from openxt_core.signature import Variant
from openxt_rpcproxy.rewriting import (
    BUS_NAME,
    asks_for_an_owner,
    concerns_a_name,
    name_for,
    with_destination,
    with_own_name,
    with_owner,
)

UUID = parse_uuid("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
NAME = "com.citrix.xenclient.guest.uuid_1"


def request(member: str, signature: str, *body: object, **fields: str) -> bytes:
    known = {PATH: "/some/where", INTERFACE: "a.b", 3: member, DESTINATION: BUS_NAME, 8: signature}
    return encode(Message(1, 77, known, body, flags=0x6))


def big_endian(member: str, name: str, flags: int) -> bytes:
    """A RequestName as a big-endian client writes it, with a header field that nobody knows."""

    def field(code: int, kind: bytes, raw: bytes) -> bytes:
        one = struct.pack(">BBcB", code, 1, kind, 0) + raw
        return one + b"\0" * (-len(one) % 8)

    def text(value: str) -> bytes:
        return struct.pack(">I", len(value)) + value.encode() + b"\0"

    fields = field(1, b"o", text("/")) + field(6, b"s", text(BUS_NAME)) + field(3, b"s", text(member))
    fields += field(200, b"s", text("kept")) + field(8, b"g", b"\2su\0")
    body = text(name)
    body += b"\0" * (-len(body) % 4) + struct.pack(">I", flags)
    return struct.pack(">cBBBIII", b"B", 1, 0, 1, len(body), 5, len(fields)) + fields + body


@pytest.mark.parametrize(
    ("member", "signature", "rest"), [("RequestName", "su", (3,)), ("ReleaseName", "s", ())]
)
def test_a_name_that_is_asked_for_is_replaced_and_all_else_kept(
    member: str, signature: str, rest: tuple[int, ...]
) -> None:
    before = request(member, signature, "guest", *rest)
    assert concerns_a_name(scan(before))
    after = decode(with_own_name(before, NAME))
    assert after.body == [NAME, *rest]
    assert (after.serial, after.flags) == (77, 0x6)
    assert after.fields[PATH] == "/org/freedesktop/DBus"
    assert after.fields[INTERFACE] == BUS_NAME


def test_byte_order_does_not_matter_and_unknown_header_fields_stay() -> None:
    before = big_endian("RequestName", "guest", 3)
    assert concerns_a_name(scan(before))
    after = decode(with_own_name(before, NAME))
    assert after.body == [NAME, 3]
    assert after.serial == 5
    assert after.fields[200] == Variant("s", "kept")
    assert SENDER not in after.fields


def test_arguments_of_another_shape_are_left_for_the_bus_to_refuse() -> None:
    assert decode(with_own_name(request("RequestName", "us", 3, "guest"), NAME)).body == [3, "guest"]
    assert decode(with_own_name(request("RequestName", ""), NAME)).body == []


def test_only_calls_of_the_bus_concern_names() -> None:
    elsewhere = encode(Message(1, 1, {PATH: "/", 3: "RequestName", DESTINATION: "a.b"}))
    signal = encode(Message(4, 1, {PATH: "/", INTERFACE: "a.b", 3: "RequestName"}))
    to_nobody = encode(Message(1, 1, {PATH: "/", 3: "RequestName"}))
    assert not concerns_a_name(scan(elsewhere))
    assert not concerns_a_name(scan(signal))
    assert concerns_a_name(scan(to_nobody))
    assert asks_for_an_owner(scan(request("GetNameOwner", "s", "a.b")))


def test_the_uuid_in_a_name_has_no_dashes() -> None:
    assert name_for("a.uuid_$UUID", UUID) == "a.uuid_6ba7b810_9dad_11d1_80b4_00c04fd430c8"


def test_a_destination_is_replaced() -> None:
    after = decode(with_destination(request("m", "as", ["x"]), "org.other"))
    assert after.fields[DESTINATION] == "org.other"
    assert after.body == [["x"]]


def test_an_owner_is_replaced_only_in_an_answer_of_its_shape() -> None:
    answer = Message(2, 9, {5: 4, 8: "s"}, (":1.5",))
    assert decode(with_owner(encode(answer), "a.b")).body == ["a.b"]
    other = Message(2, 9, {5: 4, 8: "u"}, (1,))
    assert decode(with_owner(encode(other), "a.b")).body == [1]


def number(order: str, value: int) -> bytes:
    return struct.pack(order + "I", value)


def text(order: str, value: str) -> bytes:
    return number(order, len(value)) + value.encode() + b"\0"


def whole(order: str, kind: int, flags: int, fields: list[tuple[int, bytes, bytes]], body: bytes) -> bytes:
    """A message as a client of that byte order writes it."""
    packed = b""
    for code, type_, raw in fields:
        packed += b"\0" * (-len(packed) % 8) + bytes([code, 1]) + type_ + b"\0" + raw
    mark = b"l" if order == "<" else b"B"
    head = struct.pack(order + "cBBBIII", mark, kind, flags, 1, len(body), 77, len(packed))
    return head + packed + b"\0" * (-len(packed) % 8) + body


@pytest.mark.parametrize("order", ["<", ">"])
def test_each_rewriting_reads_either_byte_order_and_keeps_the_rest(order: str) -> None:
    mine = (200, b"s", text(order, "kept"))
    path, member = (1, b"o", text(order, "/x")), (3, b"s", text(order, "ReleaseName"))
    to_bus, to_other = (6, b"s", text(order, BUS_NAME)), (6, b"s", text(order, ":1.5"))
    of_text, of_number = (8, b"g", b"\1s\0"), (8, b"g", b"\1u\0")
    release = whole(order, 1, 6, [path, member, to_bus, mine, of_text], text(order, "guest"))
    call = whole(order, 1, 2, [path, member, to_other, mine, of_number], number(order, 0x01020304))
    answer = whole(order, 2, 1, [(5, b"u", number(order, 9)), mine, of_text], text(order, ":1.3"))
    for before, after, body, flags in (
        (release, with_own_name(release, NAME), [NAME], 6),
        (call, with_destination(call, "a.b"), [0x01020304], 2),
        (answer, with_owner(answer, "a.b"), ["a.b"], 1),
    ):
        assert scan(before).order == order
        found = decode(after)
        assert (found.serial, found.flags, found.body) == (77, flags, body)
        assert found.fields[200] == Variant("s", "kept")
    assert decode(with_destination(call, "a.b")).fields[DESTINATION] == "a.b"
    assert decode(with_owner(answer, "a.b")).fields[5] == 9


@given(st.binary(max_size=200), st.integers(0, 400), st.booleans())
def test_damaged_messages_are_refused_or_rewritten_and_never_anything_else(
    noise: bytes, at: int, big: bool
) -> None:
    whole = big_endian("RequestName", "guest", 3) if big else request("RequestName", "su", "guest", 3)
    damaged = whole[:at] + noise + whole[at + len(noise) :]
    try:
        rewritten = with_own_name(damaged, NAME)
    except (FramingError, InvalidArgs):
        return
    assert decode(rewritten).fields[DESTINATION] == BUS_NAME
