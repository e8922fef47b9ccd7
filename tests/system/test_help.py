# SPDX-License-Identifier: GPL-2.0-or-later
"""`--help` of every program, as a user calls it: told, and on one screen."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
WIDTH, LINES = 80, 24
ON_STDERR = {"apptool"}  # sic, as the original


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_fits_a_screen(program: str) -> None:
    told = subprocess.run(
        [Path(sys.executable).parent / program, "--help"],
        env={"PATH": "/usr/bin:/bin", "COLUMNS": str(WIDTH)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    text, nothing = told.stdout, told.stderr
    if program in ON_STDERR:
        text, nothing = nothing, text
    assert (told.returncode, nothing) == (0, "")
    lines = text.splitlines()
    assert lines
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= WIDTH
