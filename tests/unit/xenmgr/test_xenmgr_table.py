# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows: what a property reads in a tree, and what writing one changes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_xenmgr.properties import config, ui
from openxt_xenmgr.properties.table import Change, Stored, changes_for, has_line_break, value_in
from openxt_xenmgr.properties.vm import STORED, STORED_BY_NAME

MASK = f"1+2:eax={'x' * 32}, ecx={'0' * 32}"
CONFIG = {row.name: row for row in config.ROWS}
UI = {row.name: row for row in ui.ROWS}


def read(name: str, tree: dict[str, Any]) -> Any:
    return value_in(STORED_BY_NAME[name], tree)


@pytest.mark.parametrize(
    ("name", "tree", "value"),
    [
        ("memory", {"config": {"memory": "0x200"}}, 512),
        ("memory", {"config": {"memory": 512}}, 512),
        ("memory-min", {"config": {"memory": "512"}}, 512),
        ("vcpus", {}, 1),
        ("type", {"type": "pvm"}, "svm"),
        ("type", {"type": "ndvm"}, "ndvm"),
        ("os", {"os": "beos"}, "unknown"),
        ("hvm", {"config": {"hvm": "yes"}}, True),
        ("hvm", {"config": {"hvm": True}}, True),
        ("show-switcher", {"native-experience": "true"}, False),
        ("start-on-boot", {"native-experience": "true"}, True),
        ("gpu", {"native-experience": "true", "pv-addons-installed": "true"}, "hdx"),
        ("shutdown-priority", {"gpu": "hdx"}, -10),
        ("shutdown-priority", {"gpu": "hdx", "shutdown-priority": "3"}, 3),
        ("extra-hvm", {"config": {"extra-hvm": {"0": "a=b", "1": "c"}}}, "a=b;c"),
        ("policy-print-screen", {"policies": {"print-screen-disallowed": "true"}}, False),
        ("qemu-dm-path", {"config": {"qemu-dm-path": ""}}, ""),
        ("track-dependencies", {}, True),
    ],
)
def test_what_a_property_reads(name: str, tree: dict[str, Any], value: Any) -> None:
    assert read(name, tree) == value


@pytest.mark.parametrize("name", ["memory", "hvm", "slot", "os", "s3-mode"])
def test_unreadable_text_counts_as_absent(name: str) -> None:
    row = STORED_BY_NAME[name]
    assert isinstance(row, Stored)
    nested: Any = "☃ not a value"
    for part in reversed(row.key.split("/")):
        nested = {part: nested}
    assert value_in(row, nested) == value_in(row, {})


@pytest.mark.parametrize(
    ("name", "value", "change"),
    [
        ("memory", 512, Change("config/memory", "512")),
        ("memory-min", 0, Change("config/memory-min", None)),
        ("name", "  a b ", Change("name", "a b")),
        ("boot-sentinel", "", Change("boot-sentinel", None)),
        ("extra-hvm", " a=b ; ;c", Change("config/extra-hvm", ("a=b", "c"))),
        ("policy-print-screen", True, Change("policies/print-screen-disallowed", None)),
        ("policy-print-screen", False, Change("policies/print-screen-disallowed", "true")),
        ("hvm", False, Change("config/hvm", "false")),
        ("vcpus", 512, Change("config/vcpus", "512")),
        ("name", "x" * 512, Change("name", "x" * 512)),
        ("cpuid", MASK, Change("cpuid", MASK)),
        ("cpuid", f"{MASK}; ;{MASK}", Change("cpuid", f"{MASK}; ;{MASK}")),
        ("cpuid", "", Change("cpuid", "")),
        ("display", "vnc:port=1,use-port-unused", Change("config/display", "vnc:port=1,use-port-unused")),
    ],
)
def test_what_writing_changes(name: str, value: Any, change: Change) -> None:
    assert changes_for(STORED_BY_NAME[name], value) == (change,)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("os", "beos", "'linux'"),
        ("s3-mode", "nap", "'restart'"),
        ("memory", -1, "0 to 16777216"),
        ("memory", 2**31 - 1, "0 to 16777216"),
        ("memory-min", 2**31 - 1, "0 to 16777216"),
        ("memory-static-max", 2**31 - 1, "0 to 16777216"),
        ("vcpus", 0, "1 to 512"),
        ("vcpus", 1000, "1 to 512"),
        ("cpuid", "a", "LEAF"),
        ("cpuid", f"1:eax={'x' * 31}", "LEAF"),
        ("display", "\x01", "vnc"),
        ("display", "vnc:colour=1", "vnc"),
        ("name", "x" * 5000, "512 characters"),
        ("image-path", "x" * 5000, "512 characters"),
        ("seamless-id", "x" * 5000, "512 characters"),
        ("boot-sentinel", "x" * 5000, "512 characters"),
        ("cmd-line", "a\rb", "line break"),
        ("extra-xenvm", "a\rb", "line break"),
        ("timer-mode", 4, "0 to 3"),
        ("boot", "cdx", "letters of drives"),
        ("gpu", "best", "'hdx'"),
        ("passthrough-io", "0x3f8", "FIRST-LAST"),
        ("description", "a\nb", "line break"),
    ],
)
def test_a_refusal_names_the_property_and_what_is_allowed(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(BadRequest, match=name) as refused:
        changes_for(STORED_BY_NAME[name], value)
    assert allowed in str(refused.value)


def test_the_self_switch_is_off_until_it_is_enabled() -> None:
    row = UI["switcher-self-switch-enabled"]
    assert isinstance(row, Stored)
    assert value_in(row, {}) is False
    assert value_in(row, {"switcher": {"self-switch-disabled": "false"}}) is True
    assert changes_for(row, True) == (Change("switcher/self-switch-disabled", "false"),)


def test_creation_is_allowed_until_it_is_disallowed() -> None:
    row = CONFIG["vm-creation-allowed"]
    assert isinstance(row, Stored)
    assert value_in(row, {}) is True
    assert changes_for(row, False) == (Change("vm-create-disallowed", "true"),)
    assert changes_for(row, True) == (Change("vm-create-disallowed", None),)


@pytest.mark.parametrize(("stored", "shown"), [("0.5", 500), ("2", 2000), ("x", 0), ("nan", 0), ("inf", 0)])
def test_the_pointer_trail_is_stored_in_seconds_and_shown_in_milliseconds(stored: str, shown: int) -> None:
    row = UI["pointer-trail-timeout"]
    assert isinstance(row, Stored)
    assert value_in(row, {"xenmgr": {"pointerTrailTimeout": stored}}) == shown


def allowed_values(row: Stored) -> st.SearchStrategy[Any]:
    least, most = (-5 if row.least is None else row.least), (2**31 - 1 if row.most is None else row.most)
    if row.type == "b":
        return st.booleans()
    if row.type == "i":
        return st.integers(min_value=least, max_value=most)
    if row.form is not None:
        found = st.from_regex(row.form.pattern, fullmatch=True)
        return found.filter(lambda text: not has_line_break(text) and len(text) <= most)
    if row.words:
        return st.sampled_from(row.words)
    return st.text(st.characters(exclude_characters="\n\r"), max_size=row.most)


@given(st.sampled_from([row for row in STORED if isinstance(row, Stored) and row.local()]), st.data())
def test_what_was_written_reads_the_same(row: Stored, data: st.DataObject) -> None:
    value = data.draw(allowed_values(row))
    (change,) = changes_for(row, value)
    nested: Any = change.value
    for part in reversed(change.key.split("/")):
        nested = {part: nested}
    expected = value.strip() if row.stripped else value
    if change.value is not None:
        assert value_in(row, nested) == expected
