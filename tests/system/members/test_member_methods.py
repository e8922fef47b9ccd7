# SPDX-License-Identifier: GPL-2.0-or-later
"""Every method of xenmgr over a real bus: with success, and with each of its errors.

The cases come from the interface files; one without a row in the tables fails.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import member_entry_methods
import member_host_methods
import member_life_methods
import member_root_methods
import member_vm_methods
import member_vm_more_methods
import pytest
import pytest_asyncio
from member_machine import tidy
from member_methods import FAULTS, GONE, SUCCESS, Fault, Stage
from member_tables import INTERFACES
from xenmgr_house import XENMGR, Desk

from openxt_core.errors import RemoteError
from openxt_core.spec import Interface, Method

ROWS = (  # loading them fills the tables
    member_entry_methods,
    member_host_methods,
    member_life_methods,
    member_root_methods,
    member_vm_methods,
    member_vm_more_methods,
)

in_module = pytest.mark.asyncio(loop_scope="module")

OF_A_DISK, OF_A_NIC = "com.citrix.xenclient.vmdisk", "com.citrix.xenclient.vmnic"
NO_VM = "/vm/12345678_1234_1234_1234_123456789abc"


@dataclass(frozen=True)
class Case:
    """One method of one interface."""

    interface: Interface
    method: Method

    @property
    def key(self) -> tuple[str, str]:
        return self.interface.name, self.method.name

    @property
    def is_of_a_vm(self) -> bool:
        return self.interface.name.startswith(f"{XENMGR}.vm") or self.interface.name in (OF_A_DISK, OF_A_NIC)

    @property
    def path_of_host(self) -> str:
        is_below = self.interface.name.endswith((".host", ".powersettings", ".installer"))
        return "/host" if is_below else "/"

    def __str__(self) -> str:
        return f"{self.interface.name.rpartition('xenclient.')[2]}.{self.method.name}"


CASES = [Case(face, method) for face in INTERFACES for method in face.methods]
OWN = ("why", "devices", "v4v")
"""Interfaces that the original did not have."""


@pytest_asyncio.fixture(loop_scope="module")
async def it(furnished: Desk) -> AsyncIterator[Desk]:
    """The furnished host; VMs, database and machine are afterwards what they were."""
    furnished.signals.clear()
    before, vms = await furnished.db("dump", "/"), await furnished.root("list_vms")
    yield furnished
    await tidy(furnished, before, set(vms))


async def stage_of(it: Desk, case: Case) -> Stage:
    """On a new VM that can be started."""
    vm = await it.create()
    part = {OF_A_DISK: "add_disk", OF_A_NIC: "add_nic"}.get(case.interface.name)
    path = await it.vm(vm, part) if part else vm if case.is_of_a_vm else case.path_of_host
    return Stage(it, vm, case.interface, case.method, path)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_method_has_rows(case: Case) -> None:
    assert (case.key in SUCCESS) != (case.key in GONE), f"{case}: one row says what success is"
    assert case.key in FAULTS, f"{case}: no row says what its errors are"


def test_the_tables_have_rows_of_declared_methods_only() -> None:
    declared = {case.key for case in CASES}
    assert (SUCCESS.keys() | FAULTS.keys() | GONE.keys()) <= declared


def test_the_interface_files_declare_what_the_original_had() -> None:
    assert sum(1 for case in CASES if not case.interface.name.endswith(OWN)) == 110


@pytest.mark.parametrize("case", [case for case in CASES if case.key in SUCCESS], ids=str)
@in_module
async def test_it_does_what_it_is_for(case: Case, it: Desk) -> None:
    await SUCCESS[case.key](await stage_of(it, case))


FAILING = [
    pytest.param(case, fault, id=f"{case}-{fault.expected}")
    for case in CASES
    for fault in FAULTS.get(case.key, ())
]


@pytest.mark.parametrize(("case", "fault"), FAILING)
@in_module
async def test_it_fails_with_the_right_error(case: Case, fault: Fault, it: Desk) -> None:
    stage, log = await stage_of(it, case), it.house.log("xenmgr")
    try:
        if fault.given is not None:
            await fault.given(stage)
        if fault.is_logged:
            await stage.call(*fault.body(stage))
            text = it.house.log("xenmgr").removeprefix(log)
        else:
            text = await it.fails(stage.call(*fault.body(stage)))
    finally:
        for end in reversed(stage.ends):
            await end()
    if fault.may_be_noticed and text == stage.path:
        return
    assert fault.expected in text
    assert fault.also in text
    if fault.begins_with_number and not fault.is_logged:
        assert text.startswith(fault.expected)


@pytest.mark.parametrize("case", [case for case in CASES if case.key in GONE], ids=str)
@in_module
async def test_what_cannot_be_had_is_refused(case: Case, it: Desk) -> None:
    stage = await stage_of(it, case)
    assert await it.fails(stage.call(*GONE[case.key]))


@pytest.mark.parametrize("case", CASES, ids=str)
@in_module
async def test_arguments_of_other_types_are_refused_before_anything_happens(case: Case, it: Desk) -> None:
    stage = await stage_of(it, case)
    before = await it.db("dump", "/")
    body, signature = ("x", "s") if case.method.in_signature == "ai" else ([7], "ai")
    with pytest.raises(RemoteError) as wrong:
        await it.call(stage.path, *case.key, signature, body)
    assert wrong.value.name.endswith("InvalidArgs")
    assert await it.db("dump", "/") == before


@pytest.mark.parametrize("case", [case for case in CASES if case.is_of_a_vm], ids=str)
@in_module
async def test_an_object_that_is_not_there_has_no_methods(case: Case, furnished: Desk) -> None:
    part = {OF_A_DISK: "/disk/0", OF_A_NIC: "/nic/0"}.get(case.interface.name, "")
    name = await furnished.name_of_error(furnished.call(NO_VM + part, case.interface.name, case.method.name))
    assert name.endswith("UnknownObject")
