# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus messages and JSON texts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_bus.codec import DESTINATION, INTERFACE, MEMBER, PATH, REPLY_SERIAL, SIGNATURE, Message, decode
from openxt_bus.framing import scan
from openxt_core.errors import InvalidArgs
from openxt_rpcproxy.json_form import Incoming, JsonError, error_text, message, question, read, write

CALL: dict[str, Any] = {
    "id": 7,
    "destination": "com.citrix.xenclient.xenmgr",
    "path": "/",
    "interface": "com.citrix.xenclient.xenmgr",
    "method": "list_vms",
    "args": [],
}


def text(**changes: Any) -> bytes:
    return json.dumps({**CALL, **changes}).encode()


def without(key: str) -> bytes:
    return json.dumps({name: value for name, value in CALL.items() if name != key}).encode()


def test_a_request_is_a_method_call() -> None:
    made = decode(message(read(text(args=["x", 3])), "sx"))
    assert (made.type, made.serial, made.body) == (1, 7, ["x", 3])
    assert made.fields == {
        DESTINATION: CALL["destination"],
        PATH: "/",
        INTERFACE: CALL["interface"],
        MEMBER: "list_vms",
        SIGNATURE: "sx",
    }


@pytest.mark.parametrize("type_", [None, 5, "request"])
def test_a_text_is_a_request_unless_it_says_otherwise(type_: Any) -> None:
    assert read(text(type=type_)).kind == 1


@pytest.mark.parametrize("key", ["method", "member"])
def test_a_signal_may_name_itself_either_way(key: str) -> None:
    signal = {"type": "signal", "id": 1, "path": "/", "interface": "a.b", key: "changed", "args": ["x"]}
    made = decode(message(read(json.dumps(signal).encode()), None))
    assert (made.type, made.fields[MEMBER], made.body) == (4, "changed", ["x"])


@pytest.mark.parametrize("answers", [5, "5", 5.0])
def test_an_answer_names_its_request_by_number_or_text(answers: Any) -> None:
    answer = {"type": "response", "id": 2, "response-to": answers, "args": []}
    assert read(json.dumps(answer).encode()).answers == 5


def test_the_clients_own_types_are_kept() -> None:
    incoming = read(text(args=[5], **{"dbus-signature": "y"}))
    assert incoming.signature == "y"
    assert decode(message(incoming, incoming.signature)).fields[SIGNATURE] == "y"


@pytest.mark.parametrize(
    ("wrong", "answers"),
    [
        (b"", 0),
        (b"[]", 0),
        (b"null", 0),
        (b"{", 0),
        (b"\xff\xfe", 0),
        (b"[" * 5000, 0),
        (without("id"), 0),
        (text(id=0), 0),
        (text(id=True), 0),
        (text(id=-1), 0),
        (text(id=2**32), 0),
        (without("destination"), 7),
        (without("path"), 7),
        (without("interface"), 7),
        (without("method"), 7),
        (without("args"), 7),
        (text(destination=""), 7),
        (text(method=5), 7),
        (text(args="x"), 7),
        (text(type="other"), 7),
        (text(type="response"), 7),
        (text(type="error", **{"response-to": 3}), 7),
        (text(**{"dbus-signature": 5}), 7),
    ],
)
def test_what_is_no_message_is_refused_naming_its_id_where_it_has_one(wrong: bytes, answers: int) -> None:
    with pytest.raises(JsonError) as caught:
        read(wrong)
    assert caught.value.id == answers


@pytest.mark.parametrize(
    "wrong",
    [{"destination": "no name"}, {"path": "x"}, {"interface": "x"}, {"method": "a.b"}, {"method": "ä"}],
)
def test_names_that_no_bus_takes_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidArgs):
        message(read(text(**wrong)), "")
    with pytest.raises(InvalidArgs):
        question(read(text(**wrong)))


def test_rules_can_be_asked_before_types_are_known() -> None:
    header = scan(question(read(text(args=["a.b", None, {}]))))
    assert (header.member, header.signature) == ("list_vms", "s")
    assert scan(question(read(text(args=[{}])))).signature == ""


@pytest.mark.parametrize(
    ("parsed", "expected"),
    [
        (
            Message(1, 9, {1: "/", 2: "a.b", 3: "m", 6: "c.d", 7: ":1.1", 8: "s"}, ("x",)),
            {
                "id": 9,
                "type": "request",
                "method": "m",
                "destination": "c.d",
                "path": "/",
                "interface": "a.b",
                "args": ["x"],
            },
        ),
        (
            Message(4, 9, {1: "/", 2: "a.b", 3: "m"}),
            {"id": 9, "type": "signal", "interface": "a.b", "member": "m", "path": "/", "args": []},
        ),
        (
            Message(2, 9, {5: 7}, (["/vm/a"],)),
            {"id": 9, "type": "response", "response-to": "7", "args": [["/vm/a"]]},
        ),
        (
            Message(3, 9, {4: "a.E", 5: 7}, ("101:Not enough free memory",)),
            {
                "id": 9,
                "type": "error",
                "response-to": "7",
                "name": "a.E",
                "args": ["101:Not enough free memory"],
            },
        ),
    ],
)
def test_messages_are_written_as_the_browser_knows_them(parsed: Message, expected: dict[str, Any]) -> None:
    assert json.loads(write(parsed, parsed.serial)) == expected


def test_an_error_of_our_own_looks_like_any_other() -> None:
    assert json.loads(error_text(7, 99, "a.E", "why")) == {
        "id": 99,
        "type": "error",
        "response-to": "7",
        "name": "a.E",
        "args": ["why"],
    }


words = st.sampled_from(["", "/", "a.b", "request", "signal", "response", "error", "m", ":1.1", "as", "s"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from([*CALL, "type", "dbus-signature", "response-to", "name", "member"])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    _goes_well(data)


@given(st.dictionaries(keys, values))
def test_any_object_is_a_message_or_an_error(changes: dict[str, Any]) -> None:
    _goes_well(json.dumps({**CALL, **changes}).encode())


def _goes_well(data: bytes) -> None:
    """What is made of it can be cut, scanned, decoded and written again."""
    try:
        incoming = read(data)
        made = message(incoming, incoming.signature, {REPLY_SERIAL: 5} if incoming.is_answer else None)
    except InvalidArgs:
        return
    assert isinstance(incoming, Incoming)
    assert scan(made).serial == incoming.serial
    json.loads(write(decode(made), 1))
