# SPDX-License-Identifier: GPL-2.0-or-later
"""What rules are told of a message, from its bytes."""

from typing import Any

import pytest
from dbus_fast import Message

from openxt_bus.codec import Message as Light
from openxt_bus.codec import encode
from openxt_bus.framing import scan
from openxt_core.ids import Domid
from openxt_rpcproxy.facts import facts_of
from openxt_rpcproxy.rules.model import Direction, Facts, Source

PROPERTIES = "org.freedesktop.DBus.Properties"
SOURCE = Source(Domid(7))


def facts(member: str, signature: str, *body: Any, interface: str = PROPERTIES) -> Facts:
    raw = encode(Light(1, 5, {1: "/a", 2: interface, 3: member, 6: "a.b", 8: signature}, body))
    return facts_of(raw, scan(raw), Direction.INCOMING, SOURCE)


@pytest.mark.parametrize(
    ("one", "about", "known"),
    [
        (facts("Get", "ss", "a.K", "memory"), "a.K", {"property": "memory", "arg0": "a.K"}),
        (facts("Get", "ss", "abc", "vcpus"), "abc", {"property": "vcpus", "arg0": "abc"}),
        (facts("Get", "s", "a.K"), "a.K", {"arg0": "a.K"}),
        (facts("Get", "ss", "a.K", ""), "a.K", {"arg0": "a.K"}),
        (facts("Get", "u", 5), "", {}),
        (facts("GetAll", "s", "a.K"), "a.K", {"arg0": "a.K"}),
        (facts("Get", "ss", "a.K", "memory", interface=""), "", {"arg0": "a.K"}),
    ],
)
def test_a_call_about_a_property_names_its_interface_and_itself(
    one: Facts, about: str, known: dict[str, str]
) -> None:
    assert (one.property_call, one.property_interface) == (True, about)
    always = {"destination", "interface", "member", "sender", "path"}
    assert {name: value for name, value in one.known.items() if name not in always} == known


@pytest.mark.parametrize(
    ("signature", "body", "arg0"), [("s", ["x"], "x"), ("o", ["/x"], "/x"), ("u", [1], None)]
)
def test_the_first_argument_is_known_when_it_is_text(
    signature: str, body: list[Any], arg0: str | None
) -> None:
    one = facts("m", signature, *body, interface="a.b")
    assert not one.property_call
    assert one.known.get("arg0") == arg0
    assert one.known["path"] == "/a"


@pytest.mark.parametrize("member", ["Get", "Set"])
def test_a_body_that_lies_about_its_strings_names_nothing(member: str) -> None:
    raw = bytearray(encode(Light(1, 5, {1: "/", 2: PROPERTIES, 3: member, 8: "ss"}, ("a.K", "memory"))))
    header = scan(bytes(raw))
    raw[header.body_at : header.body_at + 4] = b"\xff\xff\0\0"
    one = facts_of(bytes(raw), header, Direction.INCOMING, SOURCE)
    assert (one.property_interface, one.known.get("property"), one.known.get("arg0")) == ("", None, None)


def test_facts_are_those_that_another_codec_wrote() -> None:
    message = Message(
        "a.b", "/p", PROPERTIES, "Set", signature="ssv", body=["a.Interface", "odd-name", _variant()]
    )
    message.serial = 3
    raw = bytes(message._marshall(False))
    one = facts_of(raw, scan(raw), Direction.INCOMING, SOURCE)
    assert (one.property_interface, one.known["property"]) == ("a.Interface", "odd-name")


def _variant() -> Any:
    from dbus_fast import Variant

    return Variant("u", 7)
