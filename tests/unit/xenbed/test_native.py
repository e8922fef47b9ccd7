# SPDX-License-Identifier: GPL-2.0-or-later
"""What is compiled for dom0 is as new as its sources, and made by one run at a time."""

import fcntl
import os
from pathlib import Path

import pytest
from xenbed.native import built


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "file.c").write_text("")
    return folder


def make(folder: Path) -> None:
    (folder / "program").write_text("")


def test_it_is_made_once_and_again_when_a_source_is_newer(tmp_path: Path, source: Path) -> None:
    made: list[Path] = []

    def build(folder: Path) -> None:
        made.append(folder)
        make(folder)

    out = tmp_path / "runs" / "out"
    assert built(source, out, build) == [out / "program"]
    assert built(source, out, build) == [out / "program"]
    assert made == [out]
    newer = (out / "program").stat().st_mtime + 1
    os.utime(source / "file.c", (newer, newer))
    built(source, out, build)
    assert made == [out, out]


def test_another_run_waits_until_it_is_there(tmp_path: Path, source: Path) -> None:
    def build(folder: Path) -> None:
        with (tmp_path / ".lock-out").open("w") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        make(folder)

    assert built(source, tmp_path / "out", build) == [tmp_path / "out" / "program"]
