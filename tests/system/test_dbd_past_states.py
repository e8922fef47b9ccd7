# SPDX-License-Identifier: GPL-2.0-or-later
"""db-log, db-undo and db-watch against a running dbd, and what its history outlives."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from houses import House, house

from openxt_api.db import DbClient
from openxt_core.ids import DBD_NAME

PROGRAMS = Path(sys.executable).parent
TIMEOUT_S = 30.0


@pytest.fixture
async def here() -> AsyncIterator[House]:
    async with house({"dbus-daemon", "openxt-sim", "dbd"}) as here:
        yield here


async def run(here: House, *command: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        PROGRAMS / command[0],
        *command[1:],
        env=here.layout.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(TIMEOUT_S):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def rows(here: House, *command: str) -> list[dict[str, Any]]:
    status, out, err = await run(here, command[0], "--json", *command[1:])
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


async def test_who_changed_what_when_and_back(here: House) -> None:
    db = DbClient(here.bus, DBD_NAME)
    await db.inject("/vm/x", '{"name": "one", "config": {"memory": "512"}}')
    await run(here, "db-write", "/vm/x/config/memory", "1024")
    newest, oldest = await rows(here, "db-log", "/vm/x")
    assert (newest["paths"], oldest["paths"]) == (["/vm/x/config/memory"], ["/vm/x"])
    assert newest["revision"] > oldest["revision"]
    assert newest["time_ms"] >= oldest["time_ms"] > 1_600_000_000_000
    assert newest["who"].startswith("db-write :")
    assert await rows(here, "db-log", "/vm/x", str(newest["revision"])) == [
        {"path": "/vm/x/config/memory", "old": '"512"', "new": '"1024"'}
    ]
    (made,) = await rows(here, "db-undo", "/vm/x")
    assert made["revision"] > newest["revision"]
    assert await db.read("/vm/x/config/memory") == "512"
    await rows(here, "db-undo", "/vm/x", str(oldest["revision"]))
    assert await db.exists("/vm/x") is False


async def test_a_removed_vm_comes_back_after_dbd_was_killed(here: House) -> None:
    db = DbClient(here.bus, DBD_NAME)
    await db.inject("/vm/x", '{"name": "precious"}')
    before = await db.dump("/vm/x")
    await db.rm("/vm/x")
    for _ in range(2):
        here.supervisor.kill("dbd")
        await here.bus.call_retrying(DBD_NAME, "/", DBD_NAME, "exists", "s", ("/vm/x",))
        paths = [row["paths"] for row in await rows(here, "db-log", "/vm/x")]
        assert paths == [["/vm/x"]] * 2
    await rows(here, "db-undo", "/vm/x")
    assert await db.dump("/vm/x") == before


async def test_an_undo_over_a_later_change_is_refused(here: House) -> None:
    db = DbClient(here.bus, DBD_NAME)
    await db.write("/vm/x/name", "one")
    await db.write("/vm/x/name", "two")
    await db.write("/vm/x/name", "three")
    middle = (await rows(here, "db-log", "/vm/x"))[1]["revision"]
    status, _, err = await run(here, "db-undo", "/vm/x", str(middle))
    assert status == 2
    assert f"/vm/x/name is not what revision {middle} made of it any more" in err
    assert await db.read("/vm/x/name") == "three"


async def test_an_undo_says_why_there_is_nothing_to_undo(here: House) -> None:
    db = DbClient(here.bus, DBD_NAME)
    await db.write("/vm/x/name", "one")
    for words, expected in (
        (("/vm/x", "999999"), "revision 999999 is not remembered, or changed nothing at or below /vm/x"),
        (("/vm/y",), "no revision that is remembered changed something at or below /vm/y"),
    ):
        status, _, err = await run(here, "db-undo", *words)
        assert status == 2
        assert expected in err


async def test_a_watcher_sees_each_change_of_its_part(here: House) -> None:
    process = await asyncio.create_subprocess_exec(
        *(PROGRAMS / "db-watch", "--json", "-n", "2", "/vm/x"),
        env=here.layout.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(TIMEOUT_S):
        assert await process.stderr.readline() == b"watching /vm/x\n"
        db = DbClient(here.bus, DBD_NAME)
        await db.write("/vm/y/name", "elsewhere")
        await db.write("/vm/x/name", "one")
        first = json.loads(await process.stdout.readline())
        await db.write("/vm/x/name", "two")
        second = json.loads(await process.stdout.readline())
        assert await process.wait() == 0
    assert (first["path"], second["path"]) == ("/vm/x/", "/vm/x/name")
    assert second == {
        "path": "/vm/x/name",
        "revision": first["revision"] + 1,
        "writer": here.bus.unique_name,
    }


@pytest.mark.parametrize(
    "words", [("db-undo",), ("db-log", "-n"), ("db-log", "/", "x"), ("db-watch", "/", "/")]
)
async def test_wrong_usage_is_told(here: House, words: tuple[str, ...]) -> None:
    status, out, _ = await run(here, *words)
    assert status == 1
    assert out.startswith("Usage: db-log")
