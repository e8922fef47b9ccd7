# SPDX-License-Identifier: GPL-2.0-or-later
"""Every property of xenmgr has exactly one row, and the row fits what the interface file says of it."""

from collections.abc import Sequence
from typing import Any

import pytest

from openxt_api.vm_disk import VMDISK
from openxt_api.vm_nic import VMNIC
from openxt_api.xenmgr import XENMGR_CONFIG, XENMGR_CONFIG_UI
from openxt_api.xenmgr_host import XENMGR_HOST
from openxt_api.xenmgr_vm import XENMGR_VM, XENMGR_VM_UNRESTRICTED
from openxt_core.signature import check, single
from openxt_core.spec import Interface
from openxt_xenmgr.properties import config, disk, host, nic, ui
from openxt_xenmgr.properties.table import Joined, Live, Stored, changes_for, value_in
from openxt_xenmgr.properties.vm import STORED
from openxt_xenmgr.properties.vm_live import LIVE
from openxt_xenmgr.vm.edits import SPECIAL

VM_ROWS = (*STORED, *LIVE)
ONLY_UNRESTRICTED = {"stubdom-memory", "stubdom-cmdline"}

# Written by templates, by documents at creation, or by what happens to the VM: never by Set.
STORED_READ_ONLY = {
    "portica-installed",
    "hibernated",
    "measured",
    "bypass-sha1sum-checks",
    "guest-only-networking",
    "system-amt-pt",
}

TABLES: dict[str, tuple[Sequence[Any], Interface]] = {
    "vm": (VM_ROWS, XENMGR_VM_UNRESTRICTED),
    "disk": (disk.ROWS, VMDISK),
    "nic": (nic.ROWS, VMNIC),
    "config": (config.ROWS, XENMGR_CONFIG),
    "ui": (ui.ROWS, XENMGR_CONFIG_UI),
    "host": (host.ROWS, XENMGR_HOST),
}
EVERY_ROW = [
    pytest.param(row, interface, id=f"{table}-{row.name}")
    for table, (rows, interface) in TABLES.items()
    for row in rows
]
STORED_ROWS = [param for param in EVERY_ROW if isinstance(param.values[0], Stored)]


@pytest.mark.parametrize("table", TABLES)
def test_rows_and_interface_name_the_same_properties_once(table: str) -> None:
    rows, interface = TABLES[table]
    assert sorted(row.name for row in rows) == sorted(interface.property)


def test_the_guarded_interface_lacks_only_two_of_the_unrestricted() -> None:
    assert set(XENMGR_VM_UNRESTRICTED.property) - set(XENMGR_VM.property) == ONLY_UNRESTRICTED
    assert set(XENMGR_VM.property) <= set(XENMGR_VM_UNRESTRICTED.property)


@pytest.mark.parametrize("name", sorted(XENMGR_VM.property))
def test_both_vm_interfaces_declare_a_property_alike(name: str) -> None:
    one, other = XENMGR_VM.property[name], XENMGR_VM_UNRESTRICTED.property[name]
    assert (one.type, one.access) == (other.type, other.access)


@pytest.mark.parametrize(("row", "interface"), EVERY_ROW)
def test_a_row_has_the_type_of_its_property(row: Any, interface: Interface) -> None:
    assert row.type == interface.property[row.name].type


@pytest.mark.parametrize(("row", "interface"), EVERY_ROW)
def test_what_is_writable_can_be_written(row: Any, interface: Interface) -> None:
    writable = interface.property[row.name].writable
    if isinstance(row, Live):
        assert writable == (row.write is not None)
    elif isinstance(row, Stored):
        assert writable == (row.name not in STORED_READ_ONLY)
    else:
        assert isinstance(row, Joined)
        assert writable


@pytest.mark.parametrize(("row", "interface"), STORED_ROWS)
def test_the_default_is_a_value_of_the_type(row: Stored, interface: Interface) -> None:
    check(value_in(row, {}), single(interface.property[row.name].type))


@pytest.mark.parametrize(("row", "interface"), STORED_ROWS)
def test_the_default_is_allowed(row: Stored, interface: Interface) -> None:
    assert changes_for(row, value_in(row, {}))


def test_no_two_rows_of_a_table_share_a_key() -> None:
    for rows, _ in TABLES.values():
        keys = [row.key for row in rows if not isinstance(row, Live)]
        assert len(keys) == len(set(keys))


def test_special_setters_belong_to_rows() -> None:
    assert set(SPECIAL) <= {row.name for row in STORED}
