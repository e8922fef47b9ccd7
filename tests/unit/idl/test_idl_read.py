# SPDX-License-Identifier: GPL-2.0-or-later
"""What the reader of interface files promises: all of it is read, or the fault is named."""

from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from idl_writer import files, xml_text, xml_tree

from openxt_core.spec import Arg, EnumValue, IdlFile
from openxt_idl.read import DOC, ENUM, GRAMMAR, VALUE, IdlError, read_file, read_text

TP = 'xmlns:tp="http://telepathy.freedesktop.org/wiki/DbusSpec#extensions-v0"'


def in_interface(members: str) -> IdlFile:
    return read_text(f'<node {TP}><interface name="a.b">{members}</interface></node>', "example")


@given(files)
def test_what_is_written_is_read_back(file: IdlFile) -> None:
    assert read_text(xml_text(file), file.name) == file


def test_direction_is_in_when_absent_and_order_is_kept() -> None:
    method = (
        in_interface(
            '<method name="m"><arg name="x" type="s"/><arg name="y" type="i" direction="out"/>'
            '<arg name="z" type="u" direction="in"/></method>'
        )
        .interfaces[0]
        .methods[0]
    )
    assert method.ins == (Arg("x", "s"), Arg("z", "u"))
    assert method.outs == (Arg("y", "i"),)


def test_an_argument_may_lack_a_name() -> None:
    assert in_interface('<signal name="s"><arg type="s"/></signal>').interfaces[0].signals[0].args == (
        Arg("", "s"),
    )


def test_enumerations_of_an_interface_belong_to_the_file() -> None:
    file = in_interface('<tp:enum name="SIDE" type="u"><tp:enumvalue suffix="LEFT" value="7"/></tp:enum>')
    assert file.enums[0].values == (EnumValue("LEFT", 7),)


def test_what_is_said_of_arguments_follows_what_is_said_of_the_method() -> None:
    method = (
        in_interface(
            '<method name="m"><tp:docstring>Sets\n a size.</tp:docstring>'
            '<arg name="size" type="i"><tp:docstring>In MiB.</tp:docstring></arg>'
            '<arg type="i" direction="out"><tp:docstring>The old one.</tp:docstring></arg></method>'
        )
        .interfaces[0]
        .methods[0]
    )
    assert method.doc == "Sets a size.\n- size: In MiB.\n- The old one."


def test_annotations_are_accepted() -> None:
    file = in_interface('<method name="m"><annotation name="org.example.A" value="true"/></method>')
    assert file.interfaces[0].methods[0].name == "m"


VALUE_A = '<tp:enumvalue suffix="A" value="x"/>'
FAULTS = {
    '<methode name="m"/>': "node/interface[a.b]: unknown element 'methode'",
    '<method name="m"><arg type="s" direction="up"/></method>': "method[m]/arg[1]: direction is 'up'",
    '<method name="m"><arg name="x" type="ss"/></method>': "method[m]/arg[x]: bad type: 'ss'",
    '<method name="m"><arg name="x" type="a{vs}"/></method>': "arg[x]: bad type",
    '<method name="m"><arg name="x"/></method>': "arg[x]: attribute 'type' is missing",
    '<method name="m"><arg name="x" type="s"/><arg name="x" type="s"/></method>': "duplicate argument 'x'",
    '<method name="m" colour="red"/>': "method[m]: unknown attribute 'colour'",
    '<method name="m" tp:name-for-bindings="M"/>': "unknown attribute 'tp:name-for-bindings'",
    '<method name="m-n"/>': "name 'm-n' is not a valid method name",
    '<method name=""/>': "name '' is not a valid method name",
    f'<method name="{"m" * 256}"/>': "is not a valid method name",
    '<method name="m"/><method name="m"/>': "interface[a.b]: duplicate method 'm'",
    '<signal name="m"/><signal name="m"/>': "duplicate signal 'm'",
    '<signal name="s"><arg type="s" direction="in"/></signal>': "goes out only",
    '<property name="p" type="s" access="reed"/>': "property[p]: access is 'reed'",
    '<property name="p" type="s"/>': "attribute 'access' is missing",
    '<property name="p" type="s" access="read"/><property name="p" type="i" access="read"/>': "duplicate",
    '<node/>': "unknown element 'node'",
    "stray": "text outside a tp:docstring",
    "<tp:docstring><h1>x</h1></tp:docstring>": "unknown element 'h1'",
    "<tp:docstring/><tp:docstring/>": "more than one tp:docstring",
    "<tp:docstring>" + "<ul>" * 40 + "</ul>" * 40 + "</tp:docstring>": "nested deeper",
    '<tp:enum name="E" type="d"/>': "an enumeration cannot be of type 'd'",
    '<tp:enum name="E" type="y"><tp:enumvalue suffix="A" value="256"/></tp:enum>': "'256' is not of type y",
    '<tp:enum name="E" type="b"><tp:enumvalue suffix="A" value="1"/></tp:enum>': "value '1' is not of type b",
    f'<tp:enum name="E" type="s">{VALUE_A}{VALUE_A}</tp:enum>': "tp:enum[E]: duplicate enumvalue 'A'",
}  # fmt: skip


@pytest.mark.parametrize(("members", "text"), FAULTS.items())
def test_a_fault_is_named_with_its_place(members: str, text: str) -> None:
    with pytest.raises(IdlError) as caught:
        in_interface(members)
    assert str(caught.value).startswith("example: node")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<node>",
        "<other/>",
        "<node><node/></node>",
        b'<?xml version="1.0" encoding="none"?><node/>',
        "\ud800",
    ],
)
def test_a_text_that_is_no_interface_file_is_refused(text: str | bytes) -> None:
    with pytest.raises(IdlError, match=r"^example: "):
        read_text(text, "example")


def test_two_interfaces_of_one_name_are_refused() -> None:
    with pytest.raises(IdlError, match=r"duplicate interface 'a\.b'"):
        read_text('<node><interface name="a.b"/><interface name="a.b"/></node>', "example")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IdlError, match=r"missing\.xml: No such file"):
        read_file(tmp_path / "missing.xml")


def test_the_file_is_named_for_its_base_name(tmp_path: Path) -> None:
    (tmp_path / "some.xml").write_text("<node/>")
    assert read_file(tmp_path / "some.xml") == IdlFile("some")


@given(files, st.data())
def test_a_changed_byte_is_read_or_refused(file: IdlFile, data: st.DataObject) -> None:
    text = bytearray(xml_text(file))
    place = data.draw(st.integers(0, len(text) - 1))
    text[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    _read_or_refuse(bytes(text))


@given(files, st.data())
def test_a_changed_element_is_read_or_refused(file: IdlFile, data: st.DataObject) -> None:
    root = xml_tree(file)
    victim = data.draw(st.sampled_from(list(root.iter())))
    key = st.sampled_from(["name", "type", "access", "direction", "suffix", "value", "odd"])
    tag = st.sampled_from([*GRAMMAR, "odd", DOC, ENUM, VALUE])
    match data.draw(st.sampled_from(["tag", "attribute", "drop", "text", "move"])):
        case "tag":
            victim.tag = data.draw(tag)
        case "attribute":
            victim.set(data.draw(key), data.draw(st.text(st.characters(codec="utf-8", min_codepoint=32))))
        case "drop":
            victim.attrib.pop(data.draw(key), None)
        case "text":
            victim.text = "stray"
        case "move":
            victim.append(ElementTree.Element(data.draw(tag), {data.draw(key): "x"}))
    _read_or_refuse(ElementTree.tostring(root, encoding="utf-8"))


def _read_or_refuse(text: bytes) -> None:
    with suppress(IdlError):
        read_text(text, "example")
