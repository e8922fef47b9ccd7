# SPDX-License-Identifier: GPL-2.0-or-later
"""The last bytes of a log, however long it is."""

import os
from pathlib import Path

import pytest

from openxt_xenvm.log_end import last_bytes

MORE_THAN_ANY_MEMORY = 1 << 43


@pytest.mark.parametrize(
    ("content", "end"), [(b"", b""), (b"few", b"few"), (b"four", b"four"), (b"more than four", b"four")]
)
def test_the_end_is_all_of_a_short_log_and_the_last_of_a_long_one(
    tmp_path: Path, content: bytes, end: bytes
) -> None:
    log = tmp_path / "log"
    log.write_bytes(content)
    assert last_bytes(log, 4) == end


def test_a_log_that_no_memory_could_hold_has_an_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    os.truncate(log, MORE_THAN_ANY_MEMORY)
    with log.open("ab") as file:
        file.write(b"end")
    assert last_bytes(log, 4) == b"\0end"


def test_a_missing_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        last_bytes(tmp_path / "none", 4)
