# SPDX-License-Identifier: GPL-2.0-or-later
"""Message boundaries and header fields, compared with an independent codec."""

import struct

import pytest
from dbus_fast import Message
from dbus_fast import MessageType as TheirType
from hypothesis import given
from hypothesis import strategies as st

from openxt_bus.framing import FramingError, MessageType, cut, error_reply, first_string, scan

MAX = 1 << 20


def packed(**fields: object) -> bytes:
    message = Message(
        destination="com.example.Name",
        path="/a/b",
        interface="com.example.Face",
        member="Do",
        serial=7,
        **fields,
    )
    return bytes(message._marshall(False))


CALL = packed(signature="su", body=["first", 5])


def test_the_header_is_read_as_it_was_written() -> None:
    header = scan(CALL)
    assert (header.destination, header.path) == ("com.example.Name", "/a/b")
    assert (header.interface, header.member, header.signature) == ("com.example.Face", "Do", "su")
    assert header.serial == 7
    assert header.wants_reply
    assert first_string(CALL, header) == "first"


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 4))
def test_messages_come_out_whole_however_the_stream_is_cut(cuts: list[int], count: int) -> None:
    stream, buffer, found = CALL * count, bytearray(), []
    for size in [*cuts, len(stream)]:
        buffer += stream[:size]
        stream = stream[size:]
        found += cut(buffer, MAX)
    assert found == [CALL] * count
    assert not buffer


@given(st.binary(max_size=300))
def test_random_bytes_are_a_message_or_a_framing_error(data: bytes) -> None:
    try:
        for message in cut(bytearray(data), MAX):
            scan(message)
    except FramingError:
        pass


@given(st.lists(st.tuples(st.integers(0, len(CALL) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_mutated_message_is_a_message_or_a_framing_error(changes: list[tuple[int, int]]) -> None:
    broken = bytearray(CALL)
    for at, byte in changes:
        broken[at] = byte
    try:
        for message in cut(broken, MAX):
            first_string(message, scan(message))
    except FramingError:
        pass


def test_a_message_larger_than_allowed_ends_the_stream_before_it_is_buffered() -> None:
    huge = bytearray(CALL[:16])
    struct.pack_into("<I", huge, 4, MAX)
    with pytest.raises(FramingError, match="more than"):
        list(cut(huge, MAX))


def test_an_error_reply_is_a_message_that_others_read() -> None:
    raw = error_reply(scan(CALL), 9, "com.example.Error.No", "because")
    header = scan(raw)
    assert (header.type, header.reply_serial, header.serial) == (MessageType.ERROR, 7, 9)
    assert (header.error_name, header.signature) == ("com.example.Error.No", "s")
    assert first_string(raw, header) == "because"
    assert not header.wants_reply
    assert TheirType.ERROR.value == header.type
