# SPDX-License-Identifier: GPL-2.0-or-later
"""Archives from outside: which members they have, and each as a slice of a file of the host.

A plain tar file is read where it lies.  A compressed one, or a zip file, which the standard does not know but
people ship, is unpacked into the folder for temporary files.  Names that lead out, links, devices and
members of the same name are refused.  Source: POSIX pax, PKWARE APPNOTE.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from openxt_core.errors import BadRequest
from openxt_ovf.hrefs import inside
from openxt_ovf.slices import Readable, Slice, read_on, write_all

MAX_MEMBERS = 10_000
MAX_HEADER = 1 << 20  # of a long name in a tar file

_GZIP, _BZIP2, _XZ, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"PK\x03\x04"
_S_IFREG = 0o10
# What zipfile raises for archives that lie; NotImplementedError is a RuntimeError, UnicodeError a ValueError.
_ZIP_FAULTS = (
    zipfile.BadZipFile, OSError, EOFError, ValueError, OverflowError, RuntimeError, KeyError, struct.error,
)  # fmt: skip


class Members(Protocol):
    """What is in a package, by names relative to it."""

    def names(self) -> list[str]: ...

    def find(self, name: str) -> Slice | None:
        """Raises BadRequest for what is there but cannot be had."""
        ...


def open_archive(path: Path, temp: Path) -> Members:
    """Raises BadRequest for what is no archive, OSError when it cannot be read."""
    head = Slice.of_file(path).head(8)
    if head.startswith(_ZIP):
        return Zip.of(path, temp)
    if head.startswith((_GZIP, _BZIP2, _XZ)):
        path = unpack(_decompressing(path, head), temp / "package.tar", path.name)
    return Tar.of(path)


def _decompressing(path: Path, head: bytes) -> AbstractContextManager[Readable]:
    if head.startswith(_GZIP):
        return gzip.GzipFile(path)
    return bz2.BZ2File(path) if head.startswith(_BZIP2) else lzma.LZMAFile(path)


def gunzip(part: Slice, target: Path, what: str) -> Path:
    """Raises BadRequest for a broken stream, Refused for want of space."""
    with part.open() as file:
        return unpack(gzip.GzipFile(fileobj=file), target, what)


def bunzip2(part: Slice, target: Path, limit: int, what: str) -> Path:
    """Raises BadRequest for a broken stream and for one of more than `limit` bytes."""
    with part.open() as file:
        return unpack(bz2.BZ2File(file), target, what, limit)


def unpack(
    opened: AbstractContextManager[Readable], target: Path, what: str, limit: int | None = None
) -> Path:
    """A stream as a file.  Raises BadRequest for a broken or too long one, Refused for want of space."""
    with opened as stream:
        write_all(target, read_on(stream, limit, what))
    return target


class _Bounded(io.FileIO):
    """A tar file's headers are read in one piece, whatever length they claim."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)


@dataclass(frozen=True)
class Tar:
    members: Mapping[str, Slice]

    @classmethod
    def of(cls, path: Path) -> "Tar":
        found: dict[str, Slice] = {}
        try:
            with (
                contextlib.closing(_Bounded(str(path))) as file,
                tarfile.open(fileobj=file, mode="r:") as tar,
            ):
                for member in _plain_members(tar):
                    name = _new_name(member.name, found)
                    found[name] = Slice(path, member.offset_data, member.size)
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise BadRequest(f"{path.name} is no tar archive, or damaged: {error}") from error
        return cls(found)

    def names(self) -> list[str]:
        return list(self.members)

    def find(self, name: str) -> Slice | None:
        return self.members.get(name)


def _plain_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for count, member in enumerate(tar):
        if count >= MAX_MEMBERS:
            raise BadRequest("the archive has too many members")
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            raise BadRequest(f"the archive's member {member.name[:80]!r} is no plain file")
        yield member


def _new_name(name: str, known: Mapping[str, object]) -> str:
    plain = inside(name, "the archive")
    if plain in known:
        raise BadRequest(f"the archive has two members {plain[:120]!r}")
    return plain


@dataclass(frozen=True)
class Zip:
    """Each member is unpacked when it is first asked for."""

    path: Path
    temp: Path
    members: Mapping[str, zipfile.ZipInfo]

    @classmethod
    def of(cls, path: Path, temp: Path) -> "Zip":
        found: dict[str, zipfile.ZipInfo] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if not entry.is_dir():
                        found[_new_name(entry.filename, found)] = _plain_entry(entry, len(found))
        except _ZIP_FAULTS as error:
            raise BadRequest(f"{path.name} is no zip archive, or damaged: {error}") from error
        return cls(path, temp, found)

    def names(self) -> list[str]:
        return list(self.members)

    def find(self, name: str) -> Slice | None:
        entry = self.members.get(name)
        if entry is None:
            return None
        target = self.temp / f"member-{list(self.members).index(name)}"
        if not target.exists():
            with zipfile.ZipFile(self.path) as archive:
                unpack(contextlib.closing(_entry_stream(archive, entry)), target, name[:120])
        return Slice.of_file(target)


def _plain_entry(entry: zipfile.ZipInfo, count: int) -> zipfile.ZipInfo:
    if count >= MAX_MEMBERS:
        raise BadRequest("the archive has too many members")
    if (entry.external_attr >> 28) not in (0, _S_IFREG):
        raise BadRequest(f"the archive's member {entry.filename[:80]!r} is no plain file")
    return entry


def _entry_stream(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> zipfile.ZipExtFile:
    """Raises BadRequest for an encrypted or oddly compressed member."""
    try:
        opened = archive.open(entry)
    except _ZIP_FAULTS as error:
        raise BadRequest(f"{entry.filename[:80]!r} cannot be unpacked: {error}") from error
    assert isinstance(opened, zipfile.ZipExtFile)
    return opened
