# SPDX-License-Identifier: GPL-2.0-or-later
"""The system calls that database files and journal are made of: one call a method, nothing decided here.

Whoever wants to see what becomes of the data when a call fails or is the last one, puts another Disk here.
"""

import fcntl
import mmap
import os
import stat
from pathlib import Path
from typing import NamedTuple

_CREATE = os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
FILE_MODE = 0o644
FOLDER_MODE = 0o755


class Entry(NamedTuple):
    """A name in a folder."""

    name: str
    is_folder: bool


class Disk:
    """Files below one folder; every method raises OSError as the system gives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def at(self, path: str) -> Path:
        return self._folder / path

    def lock(self) -> None:
        """Keep other programs of this kind out until this process ends.  Raises OSError."""
        self.make_folder("")
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise BlockingIOError(error.errno, "another dbd serves", str(self._folder)) from error

    def entries(self, path: str) -> list[Entry]:
        """Regular files and folders, sorted; links are followed, and other kinds left out."""
        found = []
        for entry in sorted(os.scandir(self.at(path)), key=lambda entry: entry.name):
            if entry.is_dir() or entry.is_file():
                found.append(Entry(entry.name, entry.is_dir()))
        return found

    def is_file(self, path: str) -> bool:
        try:
            return stat.S_ISREG(os.stat(self.at(path)).st_mode)  # noqa: PTH116  (other errors must be seen)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read(self, path: str) -> bytes:
        return self.at(path).read_bytes()

    def view(self, path: str) -> bytes | mmap.mmap:
        """`read` of what may be large and is looked at once."""
        with self.at(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) if size else b""

    def make_folder(self, path: str) -> None:
        self.at(path).mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)

    def open_new(self, path: str) -> int:
        """For writing; what was in the file is gone."""
        return os.open(self.at(path), _CREATE | os.O_WRONLY, FILE_MODE)

    def open_mapped(self, path: str) -> int:
        """For `write_at` and `map`; what was in the file is gone."""
        return os.open(self.at(path), _CREATE | os.O_RDWR, FILE_MODE)

    def write(self, fd: int, content: bytes | memoryview) -> int:
        """Bytes written, which may be fewer than asked."""
        return os.write(fd, content)

    def write_at(self, fd: int, content: bytes, position: int) -> int:
        """Bytes written, which may be fewer than asked."""
        return os.pwrite(fd, content, position)

    def map(self, fd: int, position: int, size: int) -> mmap.mmap:
        """That part of the file as memory; `position` is a multiple of the page size."""
        return mmap.mmap(fd, size, offset=position)

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def sync_file(self, path: str) -> None:
        """`sync` of a file that is not open here."""
        self._sync(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def close(self, fd: int) -> None:
        os.close(fd)

    def rename(self, old: str, new: str) -> None:
        """`new` is replaced if it exists, at once."""
        self.at(old).rename(self.at(new))

    def remove(self, path: str) -> None:
        self.at(path).unlink(missing_ok=True)

    def sync_folder(self, path: str) -> None:
        """Until then, a crash may undo what was renamed or removed in it."""
        self._sync(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _sync(self, path: str, flags: int) -> None:
        fd = os.open(self.at(path), flags)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
