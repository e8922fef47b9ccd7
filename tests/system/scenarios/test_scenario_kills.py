# SPDX-License-Identifier: GPL-2.0-or-later
"""xenmgr killed at random moments of a desktop's days: no VM lost or started twice, no state invented.

Seeded (OPENXT_SEED); a few kills on every run, 200 under OPENXT_PROOF=1, or OPENXT_KILLS.
"""

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from days import DAY, NAMES, guests_software, prepare
from machine import Machine, machine

from disk_images import needs_root
from effort import effort
from openxt_house import supervisor

KILLS = int(os.environ.get("OPENXT_KILLS", effort(4, 200)))
AGAIN = 0.3
FINDS_BACK_S = 2.0
SEED = int(os.environ.get("OPENXT_SEED", "20261129"))
LOOK_S = 0.02
PART_TIMEOUT_S = 240.0

Part: TypeAlias = Callable[[Machine], Coroutine[Any, Any, None]]

pytestmark = [needs_root, pytest.mark.proof, pytest.mark.timeout(240 + 40 * KILLS)]


@contextlib.asynccontextmanager
async def nobody_runs_twice(it: Machine) -> AsyncIterator[None]:
    """Looks at the hypervisor all the time: no VM ever has two domains."""

    async def look() -> None:
        while True:
            twice = [uuid for uuid, count in Counter(it.domains().values()).items() if count > 1]
            assert not twice, f"two domains at once: {twice}"
            await asyncio.sleep(LOOK_S)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        if not looking.done():
            looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


async def a_part(it: Machine, part: Part, pauses_s: Sequence[float] = ()) -> None:
    """One part of a day; after each pause xenmgr dies, at the part's end at the latest."""
    living = asyncio.create_task(part(it))
    for pause_s in pauses_s:
        await asyncio.wait([living], timeout=pause_s)
        it.house.supervisor.kill("xenmgr")
    try:
        async with asyncio.timeout(PART_TIMEOUT_S):
            await living
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"{part.__name__}: {error}") from error


async def nothing_is_lost_or_invented(it: Machine) -> None:
    """After a day all VMs are there and none runs, every place says so, and none speaks of another VM."""
    assert tuple(await it.names()) == NAMES
    assert it.domains() == {}
    xs = it.house.xenstore
    assert await xs.list("/xenmgr/vms") == []
    states = {await xs.read(f"/vm/{uuid}/state") for uuid in await xs.list("/vm")}
    assert states <= {"shutdown", None}
    for name in NAMES:
        assert await it.state(name) == "stopped"
    assert await it.db("exists", "/xenmgr/autostart-pending-vms") == "false"
    assert [domid for domid in await xs.list("/local/domain") if domid != "0"] == []
    known = {await it.uuid(name) for name in NAMES}
    for key in ("/vm", "/dom-store", "/xenmgr/last-start"):
        assert set((await it.db("list", key)).split()) <= known, key
    assert "leaving-" not in await it.db("list", "/xenmgr")
    assert set(await xs.list("/vm")) <= known
    assert await it.monitors() <= known
    files = [*it.places.at("/tmp").iterdir(), *(it.places.run / "xenvm").glob("*.json")]
    assert [file for file in files if not any(uuid in file.name for uuid in known)] == []


async def test_xenmgr_killed_at_any_moment_of_a_day_loses_doubles_and_invents_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        supervisor, "MAX_RESTARTS", 30 + 2 * KILLS
    )  # on a quick machine there are many in a minute
    dice = random.Random(SEED)
    async with machine() as it, guests_software(it), nobody_runs_twice(it):
        await prepare(it, tmp_path)
        length_s = {part: await _timed(it, part) for part in DAY}
        await nothing_is_lost_or_invented(it)
        it.is_patient = True
        killed = 0
        while killed < KILLS:
            doomed = dice.sample(DAY, min(len(DAY), KILLS - killed))
            pauses = {part: _pauses_s(dice, length_s[part]) for part in doomed}
            for part in DAY:
                print(f"{part.__name__}: killed after", *(f"{pause:.2f} s" for pause in pauses.get(part, ())))
                await a_part(it, part, pauses.get(part, ()))
            await nothing_is_lost_or_invented(it)
            killed += sum(map(len, pauses.values()))


def _pauses_s(dice: random.Random, length_s: float) -> list[float]:
    """A kill at any moment; now and then another one, while xenmgr finds back."""
    found = [dice.uniform(0, length_s)]
    while dice.random() < AGAIN:
        found.append(dice.uniform(0, FINDS_BACK_S))
    return found


async def _timed(it: Machine, part: Part) -> float:
    clock = asyncio.get_running_loop().time
    began = clock()
    await a_part(it, part)
    return clock() - began
