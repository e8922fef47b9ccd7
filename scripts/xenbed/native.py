# SPDX-License-Identifier: GPL-2.0-or-later
"""What is compiled from the checkout's native/ folder: dom0's bindings and quick xec, programs for guests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from xenbed.cache import alone
from xenbed.folders import REPOSITORY, RUNS
from xenbed.tools import run

BINDING = REPOSITORY / "native" / "xenctrl_cffi"
GUEST = REPOSITORY / "native" / "guest"
QUICK = REPOSITORY / "native" / "quick"
XEC = REPOSITORY / "native" / "xec"


def built_binding() -> list[Path]:
    """The extension modules, built again if their sources changed."""

    def build(folder: Path) -> None:
        run(["/usr/bin/python3", BINDING / "build.py", "--out", folder])

    return [file for file in built(BINDING, RUNS / "native", build) if file.suffix == ".so"]


def built_quick_parts() -> list[Path]:
    """What the daemons run for nearly each message."""
    return built(QUICK, RUNS / "quick", lambda folder: run([QUICK / "build.sh", "/usr/bin/python3", folder]))


def built_guest_programs() -> list[Path]:
    """Static programs that tests put into a guest's initrd, built again if their sources changed."""
    return built(GUEST, RUNS / "guest", lambda folder: run([GUEST / "build.sh", folder]))


def built_quick_xec() -> list[Path]:
    """The xec of a dom0, which runs xec-python for all but plain calls."""
    return built(XEC, RUNS / "xec", lambda folder: run([XEC / "build.sh", folder]))


def built(source: Path, folder: Path, build: Callable[[Path], object]) -> list[Path]:
    """What is in the folder once it is no older than its sources.  Runs side by side build it once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder.parent / f".lock-{folder.name}"):
        if not _is_current(source, folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
    return list(folder.glob("*"))


def _is_current(source: Path, folder: Path) -> bool:
    newest = max(file.stat().st_mtime for file in source.iterdir() if not file.name.startswith("_"))
    return min((file.stat().st_mtime for file in folder.glob("*")), default=0.0) >= newest
