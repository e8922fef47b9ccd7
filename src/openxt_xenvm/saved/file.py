# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes and reads the file of a suspended VM.  All calls block: they are for a worker thread.

A file is there whole or not at all: it is written as FILE.part beside its place, synced, then renamed.
Reading checks everything, stream included, before anybody makes a domain of it.
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from openxt_xenvm.errors import CannotSave, SavedVmRefused
from openxt_xenvm.saved.header import BLOCK, Header, Machine, as_block, from_block

_CHUNK = 1 << 20


def part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


@dataclass(frozen=True)
class Draft:
    """A file that is being written; `descriptor` stands where the stream begins."""

    path: Path
    descriptor: int

    @classmethod
    def create(cls, path: Path) -> "Draft":
        """Raises CannotSave."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(part_of(path), flags, 0o600)
            os.lseek(descriptor, BLOCK, os.SEEK_SET)
        except OSError as error:
            raise CannotSave(f"{part_of(path)}: {error.strerror}") from error
        return cls(path, descriptor)

    def written(self) -> int:
        """Bytes after the first block so far."""
        return max(0, os.fstat(self.descriptor).st_size - BLOCK)

    def append(self, file: Path) -> None:
        """The device model's state, from a file that is gone afterwards.  Raises CannotSave."""
        try:
            os.lseek(self.descriptor, 0, os.SEEK_END)
            data = memoryview(file.read_bytes())
            while data:
                data = data[os.write(self.descriptor, data) :]
            file.unlink()
        except OSError as error:
            raise CannotSave(f"{self.path}: {error.strerror}") from error

    def commit(self, machine: Machine, stream_bytes: int) -> None:
        """From here on the file is there.  Raises CannotSave."""
        try:
            size = self.written()
            header = Header(machine, stream_bytes, size - stream_bytes, _crc(self.descriptor, size))
            os.pwrite(self.descriptor, as_block(header), 0)
            os.fsync(self.descriptor)
            part_of(self.path).rename(self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise CannotSave(f"{self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Also removes what was not committed."""
        os.close(self.descriptor)
        part_of(self.path).unlink(missing_ok=True)


def bears(path: Path, mark: str) -> bool:
    """Whether the file is the one that the operation of that mark wrote."""
    try:
        return look(path).machine.mark == mark
    except SavedVmRefused:
        return False


def discard(path: Path, mark: str) -> None:
    """Remove it, if it is."""
    if bears(path, mark):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _crc(descriptor: int, size: int) -> int:
    """Of what follows the first block; ValueError is not raised for a short file, the CRC tells."""
    crc, at, end = 0, BLOCK, BLOCK + size
    while at < end and (chunk := os.pread(descriptor, min(_CHUNK, end - at), at)):
        crc = zlib.crc32(chunk, crc)
        at += len(chunk)
    return crc


def look(path: Path) -> Header:
    """The first block alone.  Raises SavedVmRefused."""
    try:
        with path.open("rb") as file:
            return from_block(file.read(BLOCK))
    except OSError as error:
        raise SavedVmRefused(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise SavedVmRefused(f"{path}: {error}") from error


def check(path: Path) -> Header:
    """The whole file is as it was written.  Raises SavedVmRefused."""
    header = look(path)
    wanted = header.stream_bytes + header.model_bytes
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor).st_size - BLOCK
        if found != wanted:
            raise SavedVmRefused(f"{path}: {found} bytes follow its first block, not {wanted}")
        if _crc(descriptor, wanted) != header.crc:
            raise SavedVmRefused(f"{path}: it is damaged")
    finally:
        os.close(descriptor)
    return header


def extract(path: Path, header: Header, file: Path) -> None:
    """Write the device model's state to a file of its own.  Raises CannotSave."""
    try:
        with path.open("rb") as saved:
            saved.seek(BLOCK + header.stream_bytes)
            state = saved.read(header.model_bytes)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(0o600)
        file.write_bytes(state)
    except OSError as error:
        raise CannotSave(f"{file}: {error.strerror}") from error


def open_stream(path: Path) -> int:
    """A descriptor that stands where the stream begins."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.lseek(descriptor, BLOCK, os.SEEK_SET)
    return descriptor
