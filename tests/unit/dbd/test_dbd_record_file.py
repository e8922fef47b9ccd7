# SPDX-License-Identifier: GPL-2.0-or-later
"""The file under the journal: every record is in the file at once, wherever the room ended."""

from pathlib import Path

import pytest
from dbd_disks import TouchyDisk, fails_once_at, never
from hypothesis import given
from hypothesis import strategies as st

from openxt_dbd.disk import Disk
from openxt_dbd.record_file import ROOM_BYTES, RecordFile

pytestmark = pytest.mark.usefixtures("tail")

RECORDS = st.lists(st.integers(0, 3 * ROOM_BYTES) | st.integers(0, 300), max_size=12)


@given(RECORDS)
def test_all_records_are_in_the_file_without_any_closing(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("file")
    file = RecordFile(Disk(folder), "records")
    whole = b""
    for number, size in enumerate(sizes):
        record = bytes([65 + number]) * size
        file.append(record)
        whole += record
        assert (folder / "records").read_bytes().rstrip(b"\0") == whole
    file.close()


def test_a_small_record_costs_no_system_call(tmp_path: Path) -> None:
    disk = TouchyDisk(tmp_path, never)
    file = RecordFile(disk, "records")
    before = len(disk.calls)
    for _ in range(100):
        file.append(b"record")
    assert len(disk.calls) == before


@pytest.mark.parametrize("point", [1, 2, 3])
def test_a_file_that_cannot_begin_is_an_error(tmp_path: Path, point: int) -> None:
    with pytest.raises(OSError, match="error"):
        RecordFile(TouchyDisk(tmp_path, fails_once_at(point)), "records")


def test_after_a_failure_the_next_record_takes_its_place(tmp_path: Path) -> None:
    disk = TouchyDisk(tmp_path, never)
    file = RecordFile(disk, "records")
    file.append(b"first")
    disk.touch = fails_once_at(len(disk.calls) + 2)  # the mapping; the room is written already
    with pytest.raises(OSError, match="error"):
        file.append(b"x" * ROOM_BYTES)
    assert (tmp_path / "records").read_bytes().rstrip(b"\0") == b"first"
    file.append(b"second")
    assert (tmp_path / "records").read_bytes().startswith(b"firstsecond")


def test_an_old_file_is_gone(tmp_path: Path) -> None:
    (tmp_path / "records").write_bytes(b"old" * ROOM_BYTES)
    RecordFile(Disk(tmp_path), "records")
    assert (tmp_path / "records").read_bytes() == bytes(ROOM_BYTES)
