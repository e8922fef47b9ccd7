# SPDX-License-Identifier: GPL-2.0-or-later
"""A dbd that is killed again and again while callers write and files are saved takes nothing back."""

import asyncio
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dbd_host import TIMEOUT_S, Host, Start, end

from effort import effort
from openxt_api.db import DbClient
from openxt_bus.connection import Bus
from openxt_core.errors import OpenxtError, RemoteError
from openxt_core.ids import DBD_NAME
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.tree import read

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]

KILLS = effort(8, 200)
WRITERS = 3
ADMIN = "com.citrix.xenclient.db.admin"


@dataclass
class Ledger:
    """What callers were told: the value of each path, and what was asked since and not answered."""

    told: dict[str, str] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    synced: dict[str, int] = field(default_factory=dict)
    """The number that was written and then covered by a `sync` that has ended."""
    writes: int = 0
    syncs: int = 0

    def may_be(self, path: str) -> set[str]:
        return {self.told.get(path, ""), self.asked.get(path, self.told.get(path, ""))}

    def lost(self, values: dict[str, str]) -> Iterator[str]:
        for path in self.told | self.asked:
            if values.get(path, "") not in self.may_be(path):
                yield f"{path} is {values.get(path)!r}, not one of {self.may_be(path)}"


async def write(host: Host, ledger: Ledger, place: str) -> None:
    """Values that count up, on and on, until dbd is gone."""
    bus = await Bus.connect(host.bus_address)
    db = DbClient(bus, DBD_NAME, "/")
    try:
        while True:
            ledger.writes += 1
            path, value = f"{place}/{ledger.writes % 41}", str(ledger.writes)
            ledger.asked[path] = value
            await db.write(path, value)
            ledger.told[path] = ledger.asked.pop(path)
    except OpenxtError:
        bus.close()


async def sync(host: Host, ledger: Ledger) -> None:
    """Has everything saved, on and on, and notes what was there before: no less may be in the files."""
    bus = await Bus.connect(host.bus_address)
    try:
        while True:
            before = dict(ledger.told)
            await bus.call(DBD_NAME, "/", ADMIN, "sync")
            ledger.synced |= {path: int(value) for path, value in before.items() if value}
            ledger.syncs += 1
    except RemoteError as error:
        if not error.is_absent and not error.name.endswith(".NoReply"):
            raise
    except OpenxtError:
        pass
    finally:
        bus.close()


async def kill_under_load(host: Host, start: Start, ledger: Ledger, dice: random.Random) -> None:
    process = start()
    goal = ledger.writes + dice.randrange(20, 400)
    places = [f"/vm/vm{dice.randrange(6)}/{number}" for number in range(WRITERS)]
    async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as callers:
        for place in places:
            callers.create_task(write(host, ledger, place))
        callers.create_task(sync(host, ledger))
        while ledger.writes < goal:
            await asyncio.sleep(0)
        end(process, signal.SIGKILL)


def values_in_files(folder: Path, copy: Path) -> dict[str, str]:
    """What the files alone hold, without any journal."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("db.journal.*"))
    root = Files(Disk(copy)).load().root
    return {
        f"/vm/vm{vm}/{writer}/{key}": read(root, ("vm", f"vm{vm}", str(writer), str(key)))
        for vm in range(6)
        for writer in range(WRITERS)
        for key in range(41)
    }


async def values_told(host: Host, ledger: Ledger) -> dict[str, str]:
    bus = await Bus.connect(host.bus_address)
    db = DbClient(bus, DBD_NAME, "/")
    paths = list(ledger.told | ledger.asked)
    found = dict(zip(paths, await asyncio.gather(*map(db.read, paths)), strict=True))
    bus.close()
    return found


async def test_kills_lose_nothing_acknowledged_and_files_nothing_synced(
    host: Host, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, dice = Ledger(), random.Random(3)
    for _ in range(KILLS):
        await kill_under_load(host, start, ledger, dice)
        in_files = values_in_files(host.config, tmp_path / "copy")
        behind = [path for path, number in ledger.synced.items() if int(in_files[path] or 0) < number]
        assert behind == []
        process = start()
        values = await values_told(host, ledger)
        assert list(ledger.lost(values)) == []
        ledger.told, ledger.asked = values, {}
        end(process, dice.choice([signal.SIGKILL, signal.SIGTERM]))
    with capsys.disabled():
        print(f"\n  {KILLS} kills, {ledger.writes} writes, {ledger.syncs} syncs: 0 lost")
    assert ledger.writes > KILLS * 20
    assert ledger.syncs > 0
