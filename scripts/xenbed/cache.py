# SPDX-License-Identifier: GPL-2.0-or-later
"""Layers: folders that are expensive to make and depend only on known ingredients.

A layer's folder is named after a digest of its ingredients.  It is made under another name and renamed when
it is complete, so a folder with the right name is always whole.  One process makes it, others wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xenbed.tools import say

KEPT = 3  # folders of one layer: older ones may belong to other checkouts, so not just the newest


@dataclass(frozen=True)
class Layer:
    """`ingredients` is everything that changes the outcome; `build` fills an empty folder."""

    name: str
    ingredients: tuple[str, ...]
    build: Callable[[Path], None]

    @property
    def folder_name(self) -> str:
        digest = hashlib.sha256("\0".join(self.ingredients).encode()).hexdigest()
        return f"{self.name}-{digest[:16]}"


def ready(cache: Path, layer: Layer) -> Path:
    """The finished folder of a layer, which is built first if there is none."""
    folder = cache / layer.folder_name
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with alone(cache / f".lock-{layer.name}"):
            if not folder.is_dir():
                _build(cache, layer, folder)
    os.utime(folder)
    return folder


def _build(cache: Path, layer: Layer, folder: Path) -> None:
    """Leaves nothing behind when it fails; what a killed build left is removed by the next one."""
    say(f"building {layer.name} ({folder})")
    for left_over in cache.glob(f".building-{layer.name}-*"):
        shutil.rmtree(left_over)
    unfinished = Path(tempfile.mkdtemp(prefix=f".building-{layer.name}-", dir=cache))
    try:
        unfinished.chmod(0o755)
        layer.build(unfinished)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    for old in _by_age(cache, layer.name)[KEPT:]:
        shutil.rmtree(old)


def _by_age(cache: Path, name: str) -> list[Path]:
    """Last used first."""
    return sorted(cache.glob(f"{name}-*"), key=lambda folder: folder.stat().st_mtime, reverse=True)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Nobody else holds that lock file meanwhile: other threads and processes wait for their turn."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
