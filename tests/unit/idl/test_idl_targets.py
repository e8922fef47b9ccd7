# SPDX-License-Identifier: GPL-2.0-or-later
"""JavaScript, TypeScript, C and HTML: names, the words of each language, and what is refused."""

import pytest
from hypothesis import given
from idl_writer import files

from openxt_core.spec import Arg, Enum, EnumValue, IdlFile, Interface, Method, Property, Signal
from openxt_idl.emit import c, html, javascript, typescript
from openxt_idl.read import IdlError

SWITCH = Interface(
    "a.lamp",
    methods=(Method("switch", (Arg("new", "b"), Arg("", "s"), Arg("new", "ai"))),),
    properties=(Property("start-on-boot", "b", "readwrite"), Property("log", "s", "read")),
    signals=(Signal("burnt", (Arg("names", "as"),)),),
    doc="A lamp & <more>.",
)
LAMP = IdlFile("lamp", "/", (SWITCH,), (Enum("MODE", "s", (EnumValue("OFF", 'a"b'),)),))


def test_javascript_words_get_an_underscore_and_arguments_differ() -> None:
    text = javascript.script(LAMP, "lamp")
    assert "self.switch_ = function (new_, arg1, new__, success, failure)" in text
    assert 'send("a.lamp", "switch", [new_, arg1, new__], success, failure)' in text


@pytest.mark.parametrize(
    ("name", "file"), [("XenmgrVm", "xenmgr_vm_client.js"), ("xenmgr_vm", "xenmgr_vm_client.js")]
)
def test_names_of_files_and_constructors(name: str, file: str) -> None:
    assert javascript.file_name(name) == file
    assert javascript.client_name(name) == "XenmgrVmClient"


@pytest.mark.parametrize("name", ["properties", "delete_", "low"])
def test_two_members_of_one_javascript_name_are_refused(name: str) -> None:
    lamp = Interface("a.lamp", methods=(Method("delete"), Method(name)))
    with pytest.raises(IdlError, match="in JavaScript"):
        javascript.script(IdlFile("lamp", "/", (lamp, Interface("a.lamp.low"))), "lamp")


def test_two_functions_of_one_c_name_are_refused() -> None:
    twins = (Interface("a.b_c", methods=(Method("d"),)), Interface("a.b", methods=(Method("c_d"),)))
    with pytest.raises(IdlError, match="a_b_c_d in C"):
        c.header(IdlFile("twins", "/", twins), "twins")


def test_c_says_values_and_accessors() -> None:
    text = c.header(LAMP, "lamp")
    assert '#define ENUM_MODE_OFF "a\\"b"' in text
    assert "property_set_a_lamp_start_on_boot(" in text
    assert "property_set_a_lamp_log(" not in text
    assert "int32_t *IN_new_, size_t IN_new__n" in text


def test_html_escapes_and_has_an_anchor_for_each_member() -> None:
    text = html.page(LAMP)
    assert "A lamp &amp; &lt;more&gt;." in text
    assert all(f'id="a.lamp.{member}"' in text for member in ("switch", "burnt", "start-on-boot"))
    assert 'href="lamp.html#a.lamp"' in html.index([LAMP])


@given(files)
def test_any_file_is_written_or_refused(file: IdlFile) -> None:
    for make in (javascript.script, typescript.declarations, c.header):
        try:
            assert make(file, file.name)
        except IdlError:
            continue
    assert html.page(file)
