# SPDX-License-Identifier: GPL-2.0-or-later
"""The core of the scenarios on real Xen, by xec alone.

All on one host, because starting one takes half a minute in the emulated dom0.
"""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
import test_scenario_troubles as troubles
from machine import Machine, machine

pytestmark = [pytest.mark.xen, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1100)]

CORE = (
    troubles.test_a_circle_of_dependencies_is_told_by_name_and_starts_nothing,
    troubles.test_a_hook_that_hangs_is_ended_and_holds_up_nobody_else,
    troubles.test_damage_to_one_vm_is_told_and_the_others_work,
    troubles.test_a_deleted_vm_takes_all_that_is_its_own_and_nothing_else,
)
OUT = Path("/bed/out")
Scenario = Callable[[Machine], Awaitable[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def it() -> AsyncIterator[Machine]:
    """What its programs wrote comes back with the run's other files."""
    async with machine(is_real=True) as opened:
        yield opened
        shutil.copytree(opened.house.layout.root / "log", OUT / "log", dirs_exist_ok=True)


@pytest.mark.parametrize("scenario", CORE, ids=lambda scenario: scenario.__name__.removeprefix("test_"))
async def test_of_single_vms(it: Machine, scenario: Scenario) -> None:
    it.told.clear()
    await scenario(it)
    for name in tuple(it.paths):
        await it.command(*it.asked(name), "delete")  # slots are few; the scenario may have lost one
    it.paths.clear()
