# SPDX-License-Identifier: GPL-2.0-or-later
"""Introspection data, which may be a guest's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_bus.introspect import PROPERTIES, document, interface_xml
from openxt_core.errors import BadRequest
from openxt_rpcproxy.introspection import MAX_METHODS, MAX_TEXT, method_signatures


def test_in_arguments_give_the_signature() -> None:
    found = method_signatures(document(interface_xml(PROPERTIES), ["child"]))
    assert found[PROPERTIES.name, "Set"] == "ssv"
    assert found[PROPERTIES.name, "GetAll"] == "s"


def test_an_argument_without_direction_goes_in() -> None:
    xml = '<node><interface name="a.b"><method name="m"><arg type="s"/></method></interface></node>'
    assert method_signatures(xml) == {("a.b", "m"): "s"}


def test_methods_elsewhere_mean_nothing() -> None:
    xml = '<node><node><interface name="a.b"><method name="m"/></interface></node><method name="m"/></node>'
    assert method_signatures(xml) == {}


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "no xml",
        '<!DOCTYPE node [<!ENTITY e "x">]><node>&e;</node>',
        '<node><interface name="a.b"><method name="m"><arg type="zz"/></method></interface></node>',
        "<node>" + " " * MAX_TEXT + "</node>",
        "<node>\ud800</node>",
        '<node><interface name="a.b"><method name="m">'
        + '<arg type="s"/>' * 256
        + "</method></interface></node>",
        "<node><interface>"
        + "".join(f'<method name="m{number}"/>' for number in range(MAX_METHODS + 1))
        + "</interface></node>",
    ],
)
def test_what_cannot_be_read_is_refused(xml: str) -> None:
    with pytest.raises(BadRequest):
        method_signatures(xml)


pieces = st.sampled_from(
    ["<node>", "</node>", '<interface name="a">', '<method name="m">', '<arg type="s"/>', "<", "&", '"']
)


@given(st.lists(pieces | st.text(max_size=5), max_size=12).map("".join))
def test_any_text_gives_signatures_or_is_refused(xml: str) -> None:
    try:
        method_signatures(xml)
    except BadRequest:
        pass
