# SPDX-License-Identifier: GPL-2.0-or-later
"""The measurement of a mounted file system, against sha256sum of the same files; both with all processors.

Not pinned to one processor, unlike the others: that it uses them all is what is measured.  The files are in
the page cache for both.  A gigabyte as one file, and as files of the sizes of a small Linux system.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness import Missing, Promise, Room

BYTES = 1 << 30
PROGRAM = (
    "import os, sys; from openxt_xenmgr.host.measurement import measure as m; m(os.fsencode(sys.argv[1]), {})"
)
LOOK = """
import asyncio, sys
from openxt_xenmgr.host import inspection, opened
print(asyncio.run(inspection.sha256_of(opened.Image("file", sys.argv[1]))))
"""
FLOOR = 1 / 1.3


def one_file(folder: Path) -> None:
    _write(folder / "file", BYTES, random.Random(1))


def many_files(folder: Path) -> None:
    """Log-normal sizes around 8 KiB, as /usr has them, 100 files a folder."""
    dice = random.Random(2)
    left, number = BYTES, 0
    while left > 0:
        size = min(left, int(dice.lognormvariate(9, 2)), 64 << 20)
        at = folder / str(number // 100)
        at.mkdir(exist_ok=True)
        _write(at / str(number), size, dice)
        left -= size
        number += 1


def _write(path: Path, size: int, dice: random.Random) -> None:
    piece = dice.randbytes(1 << 16)
    with path.open("wb") as file:
        for at in range(0, size, len(piece)):
            file.write(piece[: size - at])


def ratios(room: Room, rounds: int, fill: Callable[[Path], None]) -> list[float]:
    folder = room.folder / "tree"
    folder.mkdir()
    try:
        fill(folder)
        theirs, ours = _sha256sum(folder), _measure(folder)
        _seconds(theirs)  # the page cache
        return [_seconds(theirs) / _seconds(ours) for _ in range(rounds)]
    finally:
        shutil.rmtree(folder)


def _sha256sum(folder: Path) -> list[str]:
    return ["sh", "-c", 'find "$0" -type f -print0 | xargs -0 sha256sum', str(folder)]


def _measure(folder: Path) -> list[str]:
    return [sys.executable, "-c", PROGRAM.format(len(os.sched_getaffinity(0))), str(folder)]


def _seconds(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def image_ratios(room: Room, rounds: int) -> list[float]:
    """The whole look into an image, with its process and its mount, against sha256sum of the image."""
    if os.geteuid():
        raise Missing("measure-image mounts an image: run it as root")
    image, tree = room.folder / "image", room.folder / "tree"
    tree.mkdir()
    many_files(tree)
    subprocess.run(["truncate", "-s", "1200M", image], check=True)
    subprocess.run(["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-d", tree, image], check=True)
    shutil.rmtree(tree)
    theirs, ours = ["sha256sum", str(image)], [sys.executable, "-c", LOOK, str(image)]
    _seconds(theirs)  # the page cache
    return [_seconds(theirs) / _seconds(ours) for _ in range(rounds)]


PROMISES = (
    Promise("measure-1-file", FLOOR, lambda room, rounds: ratios(room, rounds, one_file)),
    Promise("measure-many-files", FLOOR, lambda room, rounds: ratios(room, rounds, many_files)),
    Promise("measure-image", FLOOR, image_ratios),
)
