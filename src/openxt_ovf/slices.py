# SPDX-License-Identifier: GPL-2.0-or-later
"""A part of a host's file: how a member of a tar file is read where it lies, without unpacking."""

import hashlib
import io
import lzma
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from openxt_core.errors import BadRequest, Refused, Unavailable

CHUNK = 1 << 20
KEPT_FREE = 64 << 20  # a full disk stops more than us


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Slice:
    path: Path
    offset: int
    size: int

    @classmethod
    def of_file(cls, path: Path) -> "Slice":
        return cls(path, 0, path.stat().st_size)

    def chunks(self) -> Iterator[bytes]:
        """All of it.  Raises Unavailable when the file is shorter by now, or cannot be read."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                left = self.size
                while left:
                    data = file.read(min(CHUNK, left))
                    if not data:
                        raise Unavailable(f"{self.path} is shorter than it says")
                    left -= len(data)
                    yield data
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be read: {error.strerror}") from error

    def open(self) -> io.BufferedReader:
        """A stream of it, from its beginning to its end."""
        return io.BufferedReader(_SliceReader(self.chunks()), CHUNK)

    def read(self, limit: int, what: str) -> bytes:
        """All of it.  Raises BadRequest when that is more than `limit` bytes."""
        if self.size > limit:
            raise BadRequest(f"{what} has more than {limit >> 20} MiB")
        return b"".join(self.chunks())

    def head(self, size: int) -> bytes:
        return Slice(self.path, self.offset, min(size, self.size)).read(size, str(self.path))

    def tail(self, size: int) -> bytes:
        size = min(size, self.size)
        return Slice(self.path, self.offset + self.size - size, size).read(size, str(self.path))

    def digest(self, algorithm: str) -> str:
        found = hashlib.new(algorithm, usedforsecurity=False)
        for chunk in self.chunks():
            found.update(chunk)
        return found.hexdigest()


def sync(path: Path) -> None:
    """A file's content, or a folder's names, are on the disk afterwards."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _SliceReader(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def write_all(target: Path, data: Iterable[bytes]) -> None:
    """A new file with this content.  Leaves nothing, and the disk not full, when it fails.

    Raises Refused where there is not enough space or the file exists, Unavailable when it cannot be written.
    """
    try:
        with open(target, "xb") as file:
            try:
                for chunk in data:
                    if shutil.disk_usage(target.parent).free < KEPT_FREE + len(chunk):
                        raise Refused(f"there is not enough free space for {target}")
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                target.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise Refused(f"file {target} already exists and would be overwritten, aborting!") from None
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror}") from error


_BROKEN = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)


_BROKEN = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)


def read_on(stream: Readable, limit: int | None, what: str) -> Iterator[bytes]:
    """The rest of a compressed stream.  Raises BadRequest when it is broken, or more than `limit` bytes."""
    done = 0
    while data := _read(stream, what):
        done += len(data)
        if limit is not None and done > limit:
            raise BadRequest(f"{what} unpacks to more than {limit >> 20} MiB")
        yield data


def _read(stream: Readable, what: str) -> bytes:
    """bz2 and gzip tell a broken stream by an OSError without a number."""
    try:
        return stream.read(CHUNK)
    except OSError as error:
        if error.errno is not None:
            raise Unavailable(f"{what} cannot be read: {error.strerror}") from error
        raise BadRequest(f"{what} is damaged: {error}") from None
    except _BROKEN as error:
        raise BadRequest(f"{what} is damaged: {error}") from None
