# SPDX-License-Identifier: GPL-2.0-or-later
"""When the database is saved."""

import asyncio
from pathlib import Path

import pytest
from dbd_disks import TouchyDisk, never, no_space

from openxt_core.errors import Unavailable
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.flusher import Flusher
from openxt_dbd.journal import Journal
from openxt_dbd.pace import MAX_JOURNAL_BYTES
from openxt_dbd.placement import Unit
from openxt_dbd.store import Database

TIMEOUT_S = 20.0


def opened(disk: Disk, delay_s: float) -> tuple[Database, Flusher]:
    database = Database(Files(disk), Journal(disk))
    flusher = Flusher(database, delay_s)
    database.load()
    return database, flusher


async def until_clean(database: Database) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while database.dirty:
            await asyncio.sleep(0)


async def test_a_change_is_saved_without_being_asked(tmp_path: Path) -> None:
    database, flusher = opened(Disk(tmp_path), delay_s=0.0)
    running = asyncio.create_task(flusher.run())
    database.write(("a",), "1")
    await until_clean(database)
    flusher.stop()
    await running
    assert (tmp_path / "db").read_text() == '{\n  "a": "1"\n}\n'


async def test_what_a_dead_process_left_is_saved_without_a_change(tmp_path: Path) -> None:
    opened(Disk(tmp_path), 0.0)[0].write(("a",), "1")
    database, flusher = opened(Disk(tmp_path), delay_s=0.0)
    running = asyncio.create_task(flusher.run())
    await until_clean(database)
    flusher.stop()
    await running
    assert (tmp_path / "db").exists()


async def test_stopping_saves_at_once_what_is_left(tmp_path: Path) -> None:
    database, flusher = opened(Disk(tmp_path), delay_s=3600.0)
    running = asyncio.create_task(flusher.run())
    database.write(("a",), "1")
    await asyncio.sleep(0)
    flusher.stop()
    async with asyncio.timeout(TIMEOUT_S):
        await running
    assert (tmp_path / "db").exists()


async def test_stopping_without_a_change_writes_nothing(tmp_path: Path) -> None:
    disk = TouchyDisk(tmp_path, never)
    _, flusher = opened(disk, delay_s=3600.0)
    flusher.stop()
    await flusher.run()
    assert disk.calls == []


async def test_while_the_disk_fails_saving_is_tried_again_until_it_works(tmp_path: Path) -> None:
    tries = 0

    def full_at_first(number: int, call: str) -> None:
        nonlocal tries
        if call == "sync" and (tries := tries + 1) < 4:
            no_space()

    database, flusher = opened(TouchyDisk(tmp_path, full_at_first), delay_s=0.001)
    running = asyncio.create_task(flusher.run())
    database.write(("a",), "1")
    await until_clean(database)
    assert tries == 4
    flusher.stop()
    await running


async def test_an_end_with_unsaved_changes_is_an_error_and_the_journal_stays(tmp_path: Path) -> None:
    disk = TouchyDisk(tmp_path, never)
    database, flusher = opened(disk, delay_s=0.0)
    database.write(("a",), "1")
    disk.touch = no_space
    flusher.stop()
    with pytest.raises(Unavailable, match="journal"):
        await flusher.run()
    database.close()
    assert opened(Disk(tmp_path), 0.0)[0].read(("a",)) == "1"


def full_stores(database: Database, count: int) -> None:
    for number in range(count):
        for key in range(17):
            database.write(("dom-store", str(number), f"k{key}"), f"{database.revision}" + "x" * 60_000)


async def test_of_many_full_dom_stores_a_save_takes_some_and_asking_saves_all(tmp_path: Path) -> None:
    database, flusher = opened(Disk(tmp_path), delay_s=0.0)
    full_stores(database, 12)
    await flusher.flush()
    running = asyncio.create_task(flusher.run())
    for number in range(12):
        database.write(("dom-store", str(number), "k0"), "new")
    database.write(("vm", "x", "k"), "new")
    async with asyncio.timeout(TIMEOUT_S):
        while Unit("vm", "x") in database.dirty:
            await asyncio.sleep(0)
    waiting = {unit.name for unit in database.dirty}
    assert 0 < len(waiting) < 12
    assert all('"new"' not in (tmp_path / "dom-store" / f"{name}.db").read_text() for name in waiting)
    await flusher.sync()
    assert not database.dirty
    assert all('"new"' in file.read_text() for file in (tmp_path / "dom-store").iterdir())
    flusher.stop()
    await running


async def test_what_waits_goes_when_the_journal_has_grown(tmp_path: Path) -> None:
    database, flusher = opened(Disk(tmp_path), delay_s=0.0)
    full_stores(database, 12)
    await flusher.flush()
    while database.journal_bytes <= MAX_JOURNAL_BYTES:
        full_stores(database, 12)
    running = asyncio.create_task(flusher.run())
    await until_clean(database)
    assert database.journal_bytes < MAX_JOURNAL_BYTES
    flusher.stop()
    await running


async def test_a_save_that_leaves_some_waiting_fails_if_the_journal_is_not_safe(tmp_path: Path) -> None:
    disk = TouchyDisk(tmp_path, never)
    database, _ = opened(disk, delay_s=3600.0)
    database.write(("vm", "x", "k"), "1")
    database.write(("vm", "y", "k"), "1")

    def unsafe(_: int, call: str) -> None:
        if call == "sync_file":
            no_space()

    disk.touch = unsafe
    assert "journal" in database.start_save([Unit("vm", "x")]).run().failure


async def test_a_reload_saves_first_and_then_takes_what_the_files_say(tmp_path: Path) -> None:
    database, flusher = opened(Disk(tmp_path), delay_s=3600.0)
    database.write(("a",), "1")
    database.write(("vm", "x", "k"), "1")
    await flusher.flush()
    (tmp_path / "vms" / "x.db").write_text('{"k": "edited"}')
    database.write(("a",), "2")
    await flusher.reload()
    assert database.read(("a",)) == "2"
    assert database.read(("vm", "x", "k")) == "edited"


async def test_a_reload_that_cannot_save_keeps_the_tree(tmp_path: Path) -> None:
    disk = TouchyDisk(tmp_path, never)
    database, flusher = opened(disk, delay_s=3600.0)
    database.write(("a",), "1")
    disk.touch = no_space
    await flusher.reload()
    assert database.read(("a",)) == "1"
    assert database.dirty


async def test_a_hang_up_saves_and_reads_again_without_a_pause(tmp_path: Path) -> None:
    database, flusher = opened(Disk(tmp_path), delay_s=3600.0)
    running = asyncio.create_task(flusher.run())
    database.write(("vm", "x", "k"), "1")
    await flusher.flush()
    (tmp_path / "vms" / "x.db").write_text('{"k": "edited"}')
    database.write(("a",), "2")
    flusher.reread()
    async with asyncio.timeout(TIMEOUT_S):
        while database.read(("vm", "x", "k")) != "edited":
            await asyncio.sleep(0)
    assert database.read(("a",)) == "2"
    flusher.stop()
    await running
