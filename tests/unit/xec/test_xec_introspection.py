# SPDX-License-Identifier: GPL-2.0-or-later
"""Introspection data of any service becomes interfaces in document order, and nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest, Unavailable
from openxt_xec.introspection import find_method, find_property, read_xml, select

XML = """<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<node name="/vm/a" xmlns:tp="http://telepathy.freedesktop.org/wiki/DbusSpec#extensions-v0">
  <tp:docstring>A <em>VM</em> &amp; more</tp:docstring>
  <interface name="org.first">
    <method name="both">
      <annotation name="x" value="y"/>
      <arg type="s"/>
      <arg name="many" type="a{ss}" direction="in"/>
      <arg name="result" type="i" direction="out"/>
    </method>
    <signal name="changed"><arg name="what" type="s"/></signal>
    <property name="size" type="t" access="read"/>
  </interface>
  <interface name="org.second">
    <method name="both"/>
    <method name="only"/>
    <property name="size" type="u" access="readwrite"/>
  </interface>
  <node name="child"><interface name="org.child"><method name="hidden"/></interface></node>
</node>"""


def test_interfaces_of_the_object_itself_are_read_in_order() -> None:
    assert [one.name for one in read_xml(XML)] == ["org.first", "org.second"]


def test_arguments_keep_order_name_and_direction() -> None:
    method = read_xml(XML)[0].methods["both"]
    assert method.ins == [("", "s"), ("many", "a{ss}")]
    assert method.outs == [("result", "i")]


def test_the_first_interface_that_has_the_member_is_taken() -> None:
    interfaces = read_xml(XML)
    assert find_method(interfaces, "", "both")[0] == "org.first"
    assert find_method(interfaces, "", "only")[0] == "org.second"
    assert find_method(interfaces, "org.second", "both")[0] == "org.second"
    name, found = find_property(interfaces, "org.second", "size")
    assert (name, found.type, found.access) == ("org.second", "u", "readwrite")


def test_what_is_not_found_is_named() -> None:
    interfaces = read_xml(XML)
    for find, arguments, text in (
        (find_method, ("", "hidden"), "method hidden not found in any of the interfaces"),
        (find_method, ("org.first", "only"), "method org.first.only not found"),
        (find_method, ("org.none", "only"), "interface org.none not found"),
        (find_property, ("", "what"), "property what not found in any of the interfaces"),
        (find_property, ("org.first", "what"), "property org.first.what not found"),
    ):
        with pytest.raises(BadRequest) as caught:
            find(interfaces, *arguments)  # type: ignore[operator]  # two finders of one shape
        assert str(caught.value) == text


def test_all_interfaces_are_selected_by_no_name() -> None:
    assert len(select(read_xml(XML), "")) == 2


@pytest.mark.parametrize(
    "text",
    ["", "<node>", "no xml", "<node><interface/></node>", '<!DOCTYPE node [<!ENTITY a "b">]><node/>'],
)
def test_unreadable_data_is_an_error(text: str) -> None:
    with pytest.raises(Unavailable):
        read_xml(text)


@given(st.text())
def test_garbage_never_gets_further(text: str) -> None:
    try:
        read_xml(text)
    except Unavailable:
        pass
