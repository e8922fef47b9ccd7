# SPDX-License-Identifier: GPL-2.0-or-later
"""The compiled binding to Xen's libraries, built for dom0's Python from the checkout's native/ folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from xenbed.folders import REPOSITORY, RUNS
from xenbed.tools import run

SOURCE = REPOSITORY / "native" / "xenctrl_cffi"


def built_binding() -> list[Path]:
    """The extension module, built again if its sources changed; empty while the project has none."""
    if not (SOURCE / "build.py").exists():
        return []
    folder = RUNS / "native"
    built = list(folder.glob("*.so"))
    newest = max(file.stat().st_mtime for file in SOURCE.iterdir() if not file.name.startswith("_"))
    if not built or min(file.stat().st_mtime for file in built) < newest:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run(["/usr/bin/python3", SOURCE / "build.py", "--out", folder])
        built = list(folder.glob("*.so"))
    return built
