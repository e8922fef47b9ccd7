# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of single messages of a conversation."""

from typing import Any

import pytest

from openxt_bus.codec import Message, decode, encode
from openxt_bus.framing import FramingError
from openxt_core.ids import Domid, parse_uuid
from openxt_rpcproxy.passage import Passage, Rewriting
from openxt_rpcproxy.passed import Passed
from openxt_rpcproxy.rules.model import Source

BUS = "org.freedesktop.DBus"
UUID = parse_uuid("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
OWN = ":1.7"
CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
LIMITS_EXCEEDED = "org.freedesktop.DBus.Error.LimitsExceeded"
UNCHANGED = Rewriting()


def call(serial: int, member: str, destination: str = BUS, *args: Any, flags: int = 0) -> bytes:
    fields = {1: "/", 2: "a.b", 3: member, 6: destination, 7: "", 8: "s" * len(args)}
    return encode(Message(CALL, serial, fields, args, flags))


def reply(answers: int, destination: str, *args: Any, kind: int = RETURN) -> bytes:
    fields = {4: "a.E" if kind == ERROR else "", 5: answers, 6: destination, 8: "s" * len(args)}
    return encode(Message(kind, 900, fields, args))


def client(one: Passage, message: bytes) -> Passed:
    passed = one.from_client(message)
    assert passed is not None
    return passed


def bus(one: Passage, message: bytes) -> Passed:
    passed = one.from_bus(message)
    assert passed is not None
    return passed


async def passage(rewriting: Rewriting = UNCHANGED) -> Passage:
    """A conversation whose client is greeted already."""
    one = Passage(Source(Domid(7), UUID), None, rewriting, lambda name: None)
    hello = call(1, "Hello")
    assert client(one, hello).on == hello
    greeting = reply(1, OWN, OWN)
    assert bus(one, greeting).on == greeting
    return one


async def test_what_nothing_changes_goes_on_as_the_same_bytes() -> None:
    one = await passage()
    message = call(2, "m", "a.service")
    assert client(one, message).on is message


async def test_nothing_comes_before_hello() -> None:
    one = Passage(Source(Domid(7)), None, Rewriting(), lambda name: None)
    with pytest.raises(FramingError, match="Hello"):
        client(one, call(1, "m"))


async def test_a_serial_in_use_is_refused_until_its_answer_came() -> None:
    one = await passage()
    client(one, call(2, "m"))
    passed = client(one, call(2, "m"))
    assert passed.on == b""
    assert decode(passed.back).fields[4] == LIMITS_EXCEEDED
    assert bus(one, reply(2, OWN)).on
    assert client(one, call(2, "m")).on


async def test_a_call_that_wants_no_answer_gets_none() -> None:
    one = await passage()
    client(one, call(2, "m", flags=1))
    assert bus(one, reply(2, OWN)).on == b""


@pytest.mark.parametrize("kind", [RETURN, ERROR])
async def test_answers_that_nobody_awaits_are_dropped_both_ways(kind: int) -> None:
    one = await passage()
    assert bus(one, reply(77, OWN, kind=kind)).on == b""
    passed = client(one, reply(77, ":1.1", kind=kind))
    assert (passed.on, passed.back) == (b"", b"")


async def test_a_monitors_copies_of_others_answers_pass() -> None:
    one = await passage()
    assert bus(one, reply(77, ":1.99")).on


@pytest.mark.parametrize("kind", [RETURN, ERROR])
async def test_the_owner_that_is_told_is_the_name_that_was_asked_for(kind: int) -> None:
    one = await passage(Rewriting(owner_name=True))
    client(one, call(2, "GetNameOwner", BUS, "a.service"))
    answer = bus(one, reply(2, OWN, ":1.3", kind=kind))
    assert decode(answer.on).body == ["a.service" if kind == RETURN else ":1.3"]


async def test_a_destination_that_has_a_name_gets_it() -> None:
    names = {":1.3": "a.service"}
    one = await passage(Rewriting(well_known=lambda unique: names.get(unique, "")))
    assert decode(client(one, call(2, "m", ":1.3")).on).fields[6] == "a.service"
    other = call(3, "m", ":1.4")
    assert client(one, other).on is other


async def test_a_broken_body_of_a_call_that_must_be_changed_ends_the_conversation() -> None:
    one = await passage(Rewriting(request_name="a.uuid_$UUID"))
    whole = call(2, "RequestName", BUS, "guest")
    with pytest.raises(FramingError):
        client(one, whole[:-2] + b"\xff\xff")
