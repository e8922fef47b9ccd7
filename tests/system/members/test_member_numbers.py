# SPDX-License-Identifier: GPL-2.0-or-later
"""Every number of an error that clients know has a row that brings it about; and the errors of properties."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from member_machine import tidy
from member_methods import FAULTS, Fault
from member_numbers import NEVER_RAISED, NUMBERS
from member_property_faults import PROPERTY_FAULTS
from test_member_methods import ROWS, Case, stage_of
from xenmgr_house import Desk

from openxt_core import errors
from openxt_core.errors import NumberedError
from openxt_core.spec import Interface, Method

COMPAT = Path(__file__).parents[3] / "docs/compat.md"
in_module = pytest.mark.asyncio(loop_scope="module")
assert ROWS  # which are loaded


def every_fault() -> Iterator[Fault]:
    for rows in (*FAULTS.values(), *PROPERTY_FAULTS.values()):
        yield from rows


def test_every_number_is_provoked_by_a_row_or_never_raised() -> None:
    provoked = {number for fault in every_fault() for number in fault.numbers}
    assert provoked == NUMBERS - NEVER_RAISED.keys()


def test_there_is_a_class_for_each_number_that_is_raised_and_no_other() -> None:
    known = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, NumberedError)]
    numbers = [one.number for one in known if one is not NumberedError]
    assert sorted(numbers) == sorted(NUMBERS - NEVER_RAISED.keys())


@pytest.mark.parametrize("number", NEVER_RAISED)
def test_what_is_never_raised_is_told_as_a_difference(number: int) -> None:
    (line,) = [line for line in COMPAT.read_text().splitlines() if line.startswith("| errors numbered ")]
    assert str(number) in line


@dataclass(frozen=True)
class Written:
    """One property, and why it cannot be written."""

    interface: Interface
    name: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.interface.name.rpartition('xenclient.')[2]}-{self.name}-{self.fault.expected}"


WRITTEN = [Written(face, name, one) for (face, name), rows in PROPERTY_FAULTS.items() for one in rows]


@pytest_asyncio.fixture(loop_scope="module")
async def it(furnished: Desk) -> AsyncIterator[Desk]:
    before, vms = await furnished.db("dump", "/"), await furnished.root("list_vms")
    yield furnished
    await tidy(furnished, before, set(vms))


@pytest.mark.parametrize("written", WRITTEN, ids=str)
@in_module
async def test_a_property_that_cannot_be_written_now_says_so_by_number(written: Written, it: Desk) -> None:
    stage = await stage_of(it, Case(written.interface, Method("Set")))
    if written.fault.given is not None:
        await written.fault.given(stage)
    (value,) = written.fault.body(stage)
    kind = written.interface.property[written.name].type
    text = await it.fails(it.set(stage.path, written.name, kind, value, written.interface.name))
    assert text.startswith(written.fault.expected) or (written.fault.may_be_noticed and text == stage.path)
