# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP: what is asked of a QEMU, and what is made of its words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_xenvm.dm.qmp import LINE_MAX, Event, Greeting, QmpError, Reader, Reply, command, message


def test_a_command_is_one_line_that_bears_its_number() -> None:
    line = command(7, "stop", {"a": "line\nbreak"})
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"execute": "stop", "id": 7, "arguments": {"a": "line\nbreak"}}


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        (b'{"QMP": {"version": {}}}', Greeting()),
        (b'{"return": {}, "id": 3}', Reply(3, {})),
        (b'{"return": [1], "id": 3}', Reply(3, [1])),
        (b'{"error": {"class": "GenericError", "desc": "no"}, "id": 3}', Reply(3, error="no")),
        (b'{"event": "STOP", "timestamp": {}}', Event("STOP", {})),
        (b'{"event": "RTC_CHANGE", "data": {"offset": 1}}', Event("RTC_CHANGE", {"offset": 1})),
    ],
)
def test_a_line_has_its_meaning(line: bytes, meaning: object) -> None:
    assert message(line) == meaning


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"3", b"{}", b'{"return": {}}', b'{"return": {}, "id": "x"}', b"\xff"]
)
def test_what_is_no_qmp_is_an_error(line: bytes) -> None:
    with pytest.raises(QmpError):
        message(line)


@given(st.lists(st.integers(min_value=1, max_value=9), max_size=30))
def test_messages_come_whole_however_their_bytes_are_cut(sizes: list[int]) -> None:
    data = b'{"QMP": {}}\r\n{"return": {}, "id": 1}\r\n\r\n{"event": "A"}\n'
    reader, found = Reader(), []
    for size in (*sizes, len(data)):
        found += reader.feed(data[:size])
        data = data[size:]
    assert found == [Greeting(), Reply(1, {}), Event("A", {})]


def test_a_line_without_end_is_an_error() -> None:
    with pytest.raises(QmpError, match="longer than"):
        list(Reader().feed(b"x" * (LINE_MAX + 1)))


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_otherwise(data: bytes) -> None:
    try:
        list(Reader().feed(data))
    except QmpError:
        pass
