# SPDX-License-Identifier: GPL-2.0-or-later
"""The database schema and the property rows mean the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from openxt_core.errors import BadRequest
from openxt_xenmgr.properties import disk, nic, schema
from openxt_xenmgr.properties.table import Joined, Stored, changes_for, value_in
from openxt_xenmgr.properties.vm import STORED
from openxt_xenmgr.vm.tree import merge, with_leaf

TEMPLATES = sorted((Path(__file__).parents[3] / "templates" / "default").iterdir())
VALIDATOR = Draft202012Validator(schema.vm_schema())
PREFIXED = [("", STORED), ("config/disk/0/", disk.ROWS), ("config/nic/0/", nic.ROWS)]
ROWS = [
    pytest.param(prefix, row, id=f"{prefix}{row.name}")
    for prefix, rows in PREFIXED
    for row in rows
    if isinstance(row, Stored | Joined)
]
SAMPLES: dict[str, tuple[Any, ...]] = {"b": (True, False), "i": (-7, 0, 1, 4096), "s": ("", "text", "0x10")}


def errors(tree: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(tree)]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema.vm_schema())


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_fit_the_schema(template: Path) -> None:
    assert errors(json.loads(template.read_text())) == []


@pytest.mark.parametrize(("prefix", "row"), ROWS)
def test_what_a_property_stores_fits_the_schema(prefix: str, row: Stored | Joined) -> None:
    words = row.words if isinstance(row, Stored) else ()
    for value in words or SAMPLES[row.type]:
        try:
            changes = changes_for(row, value)
        except BadRequest:
            continue  # refused, so never stored
        for change in changes:
            assert errors(_stored(f"{prefix}{change.key}", change.value)) == [], value


def _stored(key: str, value: str | tuple[str, ...] | None) -> Any:
    if isinstance(value, tuple):
        whole: Any = {}
        for number, item in enumerate(value):
            whole = merge(whole, with_leaf({}, f"{key}/{number}", item))
        return whole
    return {} if value is None else with_leaf({}, key, value)


@pytest.mark.parametrize(("prefix", "row"), [one for one in ROWS if isinstance(one.values[1], Stored)])
@pytest.mark.parametrize("text", ["", "nonsense", "-3", "0", "yes", "1.5", "0xg", "0x1f"])
def test_what_the_schema_refuses_the_row_reads_as_its_default(prefix: str, row: Stored, text: str) -> None:
    tree = with_leaf({}, f"{prefix}{row.key}", text)
    if errors(tree) and row.least is None:
        assert value_in(row, with_leaf({}, row.key, text)) == value_in(row, {})


@pytest.mark.parametrize("key", ["vcpus", "memory", "timer-mode"])
@pytest.mark.parametrize("show", [str, hex, "{:08}".format])
def test_numbers_fit_the_schema_up_to_their_limit(key: str, show: Callable[[int], str]) -> None:
    row = next(row for row in STORED if isinstance(row, Stored) and row.name == key)
    assert row.least is not None
    assert row.most is not None
    sample = {
        row.least,
        row.least + 1,
        row.most - 1,
        row.most,
        *(10**n for n in range(8)),
        *(9 * 10**n for n in range(8)),
    }
    for number in sorted(number for number in sample if row.least <= number <= row.most):
        assert errors(with_leaf({}, row.key, show(number))) == [], number
    for number in (row.least - 1, 20 * row.most):
        assert errors(with_leaf({}, row.key, show(number))) != [], number
