# SPDX-License-Identifier: GPL-2.0-or-later
"""The project's third-party Python packages for dom0, so that nothing in there needs a network."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from xenbed.folders import REPOSITORY
from xenbed.tools import run

EXTRAS = ("native", "test")  # of pyproject's optional dependencies; the checkers stay on the host
PYTHON = "3.11"  # dom0's
PLATFORMS = (
    "manylinux2014_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux_2_28_x86_64",
    "manylinux_2_34_x86_64",
)


def requirements() -> tuple[str, ...]:
    """What pyproject asks for, pinned to what the checkout's .venv has, if there is one.

    Tests then run in dom0 with the same versions as on the host.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS:
        wanted += project["optional-dependencies"].get(extra, ())
    return tuple(sorted({_pinned(requirement) for requirement in wanted}))


def _pinned(requirement: str) -> str:
    (name,) = re.findall(r"^[\w.-]+", requirement)
    spelling = name.replace("-", "_").lower()
    for found in REPOSITORY.glob(f".venv/lib/python3*/site-packages/{spelling}-*.dist-info"):
        return f"{name}=={found.name.removesuffix('.dist-info').rpartition('-')[2]}"
    return requirement


def install(wanted: tuple[str, ...], into: Path) -> None:
    """Unpack the wheels that fit dom0's Python, whichever Python runs here."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    run(
        [
            *(_pip(), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", into),
            *("--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON, *platforms),
            *wanted,
        ]
    )


def _pip() -> str:
    """A Python that has pip; Debian's does once the bed's host packages are installed."""
    has_pip = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    return sys.executable if has_pip.returncode == 0 else "/usr/bin/python3"
