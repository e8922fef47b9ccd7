# SPDX-License-Identifier: GPL-2.0-or-later
"""Which entry is in which file, and what no file can hold."""

import pytest

from openxt_core.errors import BadRequest
from openxt_dbd import placement
from openxt_dbd.json_text import loads
from openxt_dbd.path import parse
from openxt_dbd.placement import MAIN, Unit
from openxt_dbd.tree import ABSENT, Change, FilePtr, Nodes, same

ROOT = loads('{"a":1,"vm":{"x":{"n":"1"},"y":"2"},"dom-store":{"u":{}}}')


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/xenmgr/a", "db"),
        ("/vmx", "db"),
        ("/vm/x", "vms/x.db"),
        ("/vm/x/config/memory", "vms/x.db"),
        ("/dom-store/u/k", "dom-store/u.db"),
    ],
)
def test_an_entry_has_one_file(path: str, file: str) -> None:
    unit = placement.unit_of(parse(path))
    assert unit is not None
    assert unit.file == file


@pytest.mark.parametrize("path", ["/", "/vm", "/dom-store"])
def test_places_above_the_files_belong_to_none(path: str) -> None:
    assert placement.unit_of(parse(path)) is None


def test_a_part_is_what_its_file_holds() -> None:
    assert same(placement.part(ROOT, MAIN), loads('{"a":1}'))
    assert placement.part(ROOT, Unit("vm", "y")) == "2"
    assert placement.part(ROOT, Unit("vm", "none")) is ABSENT
    assert placement.part(Nodes({"vm": Nodes({"f": FilePtr("/x")})}), Unit("vm", "f")) is ABSENT


def test_a_change_above_the_files_concerns_each_file_below() -> None:
    units = {unit for unit, _ in placement.split(ROOT, Change((), loads('{"b":1,"vm":{"z":{}}}')))}
    names = {("vm", "x"), ("vm", "y"), ("vm", "z"), ("dom-store", "u")}
    assert units == {None, MAIN, *(Unit(*name) for name in names)}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", '"x"'),
        ("/", "null"),
        ("/vm", '"x"'),
        ("/vm", "[]"),
        ("/vm", '{"a/b":{}}'),
        ("/vm", '{"":{}}'),
        ("/vm", '{"a":1,"a":2}'),
        ("/", '{"dom-store":1}'),
        ("/", '{"vm":{"..":1}}'),
        ("/vm/..", "{}"),
        ("/vm/./x", '"1"'),
        ("/dom-store/" + "x" * 249, "{}"),
        ("/vm/" + "ü" * 125, "{}"),
    ],
)
def test_what_no_file_can_hold_is_refused(path: str, text: str) -> None:
    with pytest.raises(BadRequest):
        placement.check(Change(parse(path), loads(text)))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", "{}"),
        ("/", '{"a":1,"a":2}'),
        ("/..", '"x"'),
        ("/a/..", '"x"'),
        ("/vm/x", '{"a/b":{},"..":1}'),
        ("/vm/x/..", "1"),
        ("/vm/x.tmp", "1"),
        ("/vm/" + "x" * 248, "{}"),
    ],
)
def test_anything_else_is_let_in(path: str, text: str) -> None:
    placement.check(Change(parse(path), loads(text)))


def test_removing_is_always_possible() -> None:
    placement.check(Change(("vm",), ABSENT))
    placement.check(Change(("vm", "x"), ABSENT))
