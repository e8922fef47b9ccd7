# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the emulator is at fault, the tests that failed are run once more, and no others."""

import subprocess
import sys
from pathlib import Path

from xenbed.command import LAST_FAILED, PYTEST, pytest_script

TESTS = """\
import pathlib, pytest

@pytest.mark.xen
@pytest.mark.parametrize("it", ["good", "bad", "also bad"])
def test_one(it):
    pathlib.Path("ran").open("a").write(it + ",")
    assert it == "good"
"""


def run(script: str, folder: Path) -> str:
    """What ran of the tests; the bed's folder is `folder`/out."""
    (folder / "ran").unlink(missing_ok=True)
    here = script.replace("/bed/out", str(folder / "out")).replace("python3", sys.executable)
    subprocess.run(["sh", "-c", here], cwd=folder, check=False, capture_output=True)
    return (folder / "ran").read_text()


def test_those_that_failed_are_run_once_more_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "test_them.py").write_text(TESTS)
    command = [*PYTEST, "."]
    assert run(pytest_script(command), tmp_path) == "good,bad,also bad,"
    note = tmp_path / "out" / LAST_FAILED
    failed = note.read_text()
    note.unlink()  # the next machine is new
    assert run(pytest_script(command, failed), tmp_path) == "bad,also bad,"
