# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks that fail: at one system call, at all calls of a kind, or by the death of the process."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openxt_dbd.disk import Disk

CHANGING_CALLS = (
    *("make_folder", "open_new", "open_mapped", "write", "write_at", "map"),
    *("sync", "sync_file", "close", "rename", "remove", "sync_folder"),
)


class Death(BaseException):
    """The process ends here; what the system was told before stays told."""


class TouchyDisk(Disk):
    """Asks `touch(number, call)` before each changing system call; that may raise."""

    def __init__(self, folder: Path, touch: Callable[[int, str], None]) -> None:
        super().__init__(folder)
        self.calls: list[str] = []
        self.touch = touch
        for name in CHANGING_CALLS:
            setattr(self, name, self._guarded(name, getattr(self, name)))

    def _guarded(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any) -> Any:
            self.calls.append(name)
            self.touch(len(self.calls), name)
            return call(*arguments)

        return guarded


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def dies_at(point: int) -> Callable[[int, str], None]:
    def touch(number: int, _: str) -> None:
        if number >= point:
            raise Death

    return touch


def fails_once_at(point: int, error: int = errno.EIO) -> Callable[[int, str], None]:
    def touch(number: int, _: str) -> None:
        if number == point:
            raise OSError(error, os.strerror(error))

    return touch


def never(_: int, __: str) -> None:
    """A disk that works."""
