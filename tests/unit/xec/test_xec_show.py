# SPDX-License-Identifier: GPL-2.0-or-later
"""The text that xec prints: scripts cut it at fixed places."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.signature import Variant
from openxt_xec.introspection import read_xml
from openxt_xec.show import show, show_interfaces, show_properties

TEXTS = [
    (-5, "-5"),
    (True, "true"),
    (False, "false"),
    ("a\nb", "a\nb"),
    ("", ""),
    (Variant("i", 5), "5"),
    (Variant("v", Variant("b", True)), "true"),
    (["a", "b"], "a\nb"),
    (["n", 3], "n\n3"),
    ([], ""),
    (b"PNG\xff", '"PNG\\255"'),
    (b'a"\\\n', '"a\\"\\\\\\10"'),
    (b"\xff1", '"\\255\\&1"'),
    (b"", '""'),
    ({}, "{\n}"),
    ({"k": "v"}, '{\n  "k"                            = v\n}'),
    ({1: True}, '{\n  "1"                            = true\n}'),
    ([{"a": "b"}, {}], '{\n  "a"                            = b\n}\n{\n}'),
    (0.0, "0.0"),
    (1.0, "1.0"),
    (0.25, "0.25"),
    (0.1, "0.1"),
    (0.01, "1.0e-2"),
    (-0.0125, "-1.25e-2"),
    (0.00001, "1.0e-5"),
    (1234567.5, "1234567.5"),
    (1e7, "1.0e7"),
    (12345678.5, "1.23456785e7"),
    (1e22, "1.0e22"),
    (1.5e300, "1.5e300"),
    (float("nan"), "NaN"),
    (float("-inf"), "-Infinity"),
]


@pytest.mark.parametrize(("value", "text"), TEXTS)
def test_a_value_is_printed_as_ever(value: Any, text: str) -> None:
    assert show(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_is_printed_with_a_point_and_reads_back_the_same(value: float) -> None:
    assert "." in show(value)
    assert float(show(value)) == value


def test_properties_are_a_block_below_their_interface() -> None:
    values = {
        "start-on-boot": Variant("b", True),
        "a-name-of-more-than-thirty-five-characters": Variant("i", 1),
    }
    assert show_properties("com.citrix.xenclient.xenmgr.vm", values) == (
        "com.citrix.xenclient.xenmgr.vm\n"
        "{\n"
        '  "start-on-boot"                     = true\n'
        '  "a-name-of-more-than-thirty-five-characters" = 1\n'
        "}\n"
    )


def test_an_object_is_listed_by_interface_with_properties_first() -> None:
    xml = """<node>
      <interface name="a.b">
        <method name="add_disk">
          <arg name="id" type="i" direction="in"/>
          <arg name="path" type="o" direction="out"/>
        </method>
        <property name="start-on-boot" type="b" access="readwrite"/>
        <method name="stop"/>
      </interface>
      <interface name="c.d"/>
    </node>"""
    assert show_interfaces(read_xml(xml)) == (
        "/------- a.b\n"
        "|     -  start-on-boot                readwrite:b\n"
        "|     +  add-disk                     ( id:i, OUT path:o )\n"
        "|     +  stop                         (  )\n"
        "\n"
        "/------- c.d\n"
        "\n"
    )
