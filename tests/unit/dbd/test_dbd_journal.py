# SPDX-License-Identifier: GPL-2.0-or-later
"""The journal: what was acknowledged comes back, whatever happened to the end of the file."""

from pathlib import Path

import pytest
from dbd_disks import TouchyDisk, never, no_space
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import Unavailable
from openxt_dbd import journal
from openxt_dbd.disk import Disk
from openxt_dbd.journal import Journal
from openxt_dbd.placement import Unit
from openxt_dbd.record_file import ROOM_BYTES
from openxt_dbd.tree import ABSENT, Change, Nodes, Real, same

pytestmark = pytest.mark.usefixtures("tail")

CHANGES = [
    Change(("vm", "x", "name"), "a/b\nü😀"),
    Change(("vm", "x"), Nodes({"f": Real(1.5), "l": (1, None)})),
    Change(("vm", "x", "gone"), ABSENT),
    Change((), Nodes()),
    Change(("z",), None),
]


BIG = Change(("big",), "x" * ROOM_BYTES)
"""Finds no room that was made ahead."""


def lines() -> list[bytes]:
    return [journal.encode(journal.change_record(number, change)) for number, change in enumerate(CHANGES)]


def opened(folder: Path) -> tuple[Journal, list[Change]]:
    one = Journal(Disk(folder))
    return one, [change for _, change in one.replay().changes]


def test_changes_come_back_in_order(tmp_path: Path) -> None:
    one, _ = opened(tmp_path)
    one.append(CHANGES[:2])
    one.append(CHANGES[2:])
    _, found = opened(tmp_path)
    assert [change.path for change in found] == [change.path for change in CHANGES]
    assert all(same(a.node, b.node) for a, b in zip(found, CHANGES, strict=True))


def test_numbers_go_on_in_the_next_process(tmp_path: Path) -> None:
    one, _ = opened(tmp_path)
    for change in CHANGES:
        one.append([change])
    two, _ = opened(tmp_path)
    two.append(CHANGES)
    assert two.number == len(CHANGES) + 1
    three, found = opened(tmp_path)
    assert (three.number, len(found)) == (two.number, 2 * len(CHANGES))


@given(cut=st.integers(0, 400), junk=st.binary(max_size=20))
def test_whatever_the_end_of_the_file_is_whole_records_before_it_count(cut: int, junk: bytes) -> None:
    whole = lines()
    content = b"".join(whole)
    found = list(journal.Content(content[:cut] + junk))
    complete = sum(cut >= sum(map(len, whole[: n + 1])) for n in range(len(whole)))
    assert [record[1] for record in found][:complete] == list(range(complete))
    assert len(found) <= complete + 1


def test_a_changed_byte_ends_the_journal_there() -> None:
    content = bytearray(b"".join(lines()))
    content[20] ^= 1
    assert list(journal.Content(bytes(content))) == []


def test_a_record_that_cannot_be_written_never_was_there(tmp_path: Path) -> None:
    disk = TouchyDisk(tmp_path, never)
    one = Journal(disk)
    one.append(CHANGES[:1])
    disk.touch = no_space
    with pytest.raises(Unavailable, match=r"db.journal.1: No space left"):
        one.append([BIG])
    disk.touch = never
    one.append(CHANGES[2:3])
    _, found = opened(tmp_path)
    assert [change.path for change in found] == [CHANGES[0].path, CHANGES[2].path]
    assert one.number == 2


class SmallDisk(Disk):
    """Takes only so many bytes more."""

    room = ROOM_BYTES * 9

    def write_at(self, fd: int, content: bytes, position: int) -> int:
        taken = super().write_at(fd, content[: self.room], position)
        self.room -= taken
        return taken


def test_half_a_record_is_taken_back_before_the_next(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path)
    one = Journal(disk)
    one.append(CHANGES[:1])
    disk.room = 7
    with pytest.raises(Unavailable):
        one.append([BIG])
    disk.room = ROOM_BYTES * 9
    one.append(CHANGES[2:3])
    _, found = opened(tmp_path)
    assert [change.path for change in found] == [CHANGES[0].path, CHANGES[2].path]


def test_a_new_generation_keeps_the_old_until_it_is_dropped(tmp_path: Path) -> None:
    one, _ = opened(tmp_path)
    one.append(CHANGES[:1])
    covered = one.rotate()
    one.append(CHANGES[1:2])
    assert len(opened(tmp_path)[1]) == 2
    one.drop(covered)
    assert [change.path for change in opened(tmp_path)[1]] == [CHANGES[1].path]


def test_a_generation_that_cannot_begin_leaves_the_old_one_in_use(tmp_path: Path) -> None:
    disk = TouchyDisk(tmp_path, never)
    one = Journal(disk)
    one.append(CHANGES[:1])
    disk.touch = no_space
    covered = one.rotate()
    disk.touch = never
    one.append(CHANGES[1:2])
    one.drop(covered)
    assert len(opened(tmp_path)[1]) == 2


def test_what_follows_a_shortened_generation_does_not_count(tmp_path: Path) -> None:
    one, _ = opened(tmp_path)
    one.append(CHANGES[:1])
    one.append(CHANGES[1:2])
    one.rotate()
    one.append(CHANGES[2:3])
    first = tmp_path / "db.journal.1"
    first.write_bytes(first.read_bytes().rstrip(b"\0")[:-2])  # the last record breaks
    again, found = opened(tmp_path)
    assert [change.path for change in found] == [CHANGES[0].path]
    again.append(CHANGES[1:2])
    assert [change.path for change in opened(tmp_path)[1]] == [CHANGES[0].path, CHANGES[1].path]


def test_notes_of_saves_come_back(tmp_path: Path) -> None:
    one, _ = opened(tmp_path)
    one.append(CHANGES)
    one.note_saved(Unit("vm", "x"), b"\x01\x02", 3)
    assert Journal(Disk(tmp_path)).replay().saved == [(3, Unit("vm", "x"), b"\x01\x02")]


def test_a_record_of_another_version_does_not_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "db.journal.1").write_bytes(
        journal.encode(("future", 1)) + journal.encode(journal.change_record(2, CHANGES[0]))
    )
    assert len(opened(tmp_path)[1]) == 1
