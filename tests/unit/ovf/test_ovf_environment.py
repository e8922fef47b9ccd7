# SPDX-License-Identifier: GPL-2.0-or-later
"""openxt_core.ovf_environment: what a guest of an appliance reads."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_core.ids import Uuid
from openxt_core.ovf_environment import NAMESPACE, environment

ONE = Uuid("00000000-0000-0000-0000-000000000001")
TWO = Uuid("00000000-0000-0000-0000-000000000002")
APPLIANCES = {"shop": {"version": "1", "vm": {ONE: {"id": "web"}, TWO: {"id": "db"}}}, "empty": {}}
PROPERTIES = {
    ONE: {"org.port.1": {"key": "port", "class": "org", "instance": "1", "value": "80"}, "mode": {}},
    TWO: {},
}


def test_a_vm_reads_its_own_properties_and_those_of_its_siblings() -> None:
    text = environment(APPLIANCES, TWO, {ONE: PROPERTIES[ONE], TWO: PROPERTIES[TWO]}.__getitem__)
    root = ElementTree.fromstring(text)
    assert root.tag == f"{{{NAMESPACE}}}Environment"
    assert root.get(f"{{{NAMESPACE}}}id") == "db"
    assert root.findtext(f"{{{NAMESPACE}}}PlatformSection/{{{NAMESPACE}}}Kind") == "XenClient XT"
    (entity,) = root.findall(f"{{{NAMESPACE}}}Entity")
    assert entity.get(f"{{{NAMESPACE}}}id") == "web"
    assert _pairs(entity) == [("org.port.1", "80"), ("mode", "")]


def test_a_vm_outside_any_appliance_has_no_environment() -> None:
    stranger = Uuid("00000000-0000-0000-0000-000000000003")
    with pytest.raises(BadRequest, match=f"VM {stranger} does not belong to any appliance"):
        environment(APPLIANCES, stranger, PROPERTIES.__getitem__)


@given(st.text(), st.text())
def test_any_value_makes_a_document_that_gives_it_back(key: str, value: str) -> None:
    found = environment(APPLIANCES, ONE, lambda _: {"x": {"key": key, "value": value}})
    (pair,) = _pairs(ElementTree.fromstring(found.encode()))
    assert pair == (_readable(key or "x"), _readable(value))


def _readable(text: str) -> str:
    return "".join(char if _is_char(ord(char)) else "\ufffd" for char in text)


def _is_char(code: int) -> bool:
    return code in (9, 10, 13) or (
        code >= 32 and not 0xD800 <= code < 0xE000 and code not in (0xFFFE, 0xFFFF)
    )


def _pairs(element: ElementTree.Element) -> list[tuple[str | None, str | None]]:
    section = element.find(f"{{{NAMESPACE}}}PropertySection")
    assert section is not None
    return [(one.get(f"{{{NAMESPACE}}}key"), one.get(f"{{{NAMESPACE}}}value")) for one in section]
