# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes into dom0 for one run: the project as it is in the checkout now, and a program to run.

In dom0 the project is at /openxt: the checkout without what was built in it, the compiled bindings to Xen's
libraries beside src's packages, bin with the entry points of pyproject and the quick xec, guest with programs
for guests.  The program is /bed/run; what it leaves in /bed/out comes back.
"""

from __future__ import annotations

import shutil
import tarfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xenbed.folders import REPOSITORY
from xenbed.machine import PAYLOAD_BYTES
from xenbed.native import built_binding, built_guest_programs, built_quick_parts, built_quick_xec
from xenbed.tools import BedError, compile_ahead

STAYS_HERE = ("build", "docs", "run")  # of the checkout's top level; hidden folders stay, too
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", ".*_cache", "*.so")

ENTRY_POINT = """\
#!/usr/bin/python3
from {module} import {function}
raise SystemExit({function}())
"""


@dataclass(frozen=True)
class Payload:
    """`script` is run by dom0's /bin/sh unless its first line names another interpreter."""

    name: str
    script: str
    limit_s: int


def write_disk(payload: Payload, scratch: Path, image: Path) -> None:
    """Lay the payload out in an empty folder and make the disk image from it."""
    _lay_out(payload, scratch)
    with tarfile.open(image, "w") as tar:
        for child in sorted(scratch.iterdir()):
            tar.add(child, child.name, filter=_owned_by_root)
    if image.stat().st_size > PAYLOAD_BYTES:
        raise BedError(f"the payload has {image.stat().st_size >> 20} MiB, its disk {PAYLOAD_BYTES >> 20}")
    with image.open("r+b") as file:
        file.truncate(PAYLOAD_BYTES)


def _lay_out(payload: Payload, root: Path) -> None:
    project, bed = root / "openxt", root / "bed"
    project.mkdir(parents=True)
    bed.mkdir()
    for source in REPOSITORY.iterdir():
        if source.name in STAYS_HERE or source.name.startswith("."):
            continue
        if source.is_dir():
            shutil.copytree(source, project / source.name, ignore=LEFT_OUT)
        else:
            shutil.copy(source, project)
    for binding in (*built_binding(), *built_quick_parts()):
        shutil.copy(binding, project / "src")
    (project / "guest").mkdir()
    for program in built_guest_programs():
        shutil.copy(program, project / "guest")
    compile_ahead(project / "src", root)
    _write_programs(project / "bin")
    for program in built_quick_xec():
        shutil.copy(program, project / "bin")
    _write_program(bed / "run", payload.script)
    (bed / "limit_s").write_text(f"{payload.limit_s}\n")
    (bed / "now").write_text(f"{int(time.time())}\n")


def _write_programs(folder: Path) -> None:
    folder.mkdir()
    for name, module, function in entry_points():
        _write_program(folder / name, ENTRY_POINT.format(module=module, function=function))


def entry_points() -> Iterator[tuple[str, str, str]]:
    """Name, module and function of each program in pyproject."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for name, target in project["scripts"].items():
        module, _, function = target.partition(":")
        yield name, module, function


def _write_program(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
