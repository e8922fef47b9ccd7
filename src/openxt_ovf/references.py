# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that a package refers to: whether they are there and as its manifest says, and each as a slice.

What is compressed or cut into chunks is put together in the folder for temporary files, when it is first
asked for.  Source: DMTF DSP0243, clauses 5.1 and 7.1.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from openxt_core.errors import BadRequest
from openxt_ovf import manifest
from openxt_ovf.archive import gunzip
from openxt_ovf.hrefs import chunk_names, place_of
from openxt_ovf.model import File
from openxt_ovf.package import Package
from openxt_ovf.slices import Slice, write_all


@dataclass
class References:
    """`host_path` maps a path of a dom0 to one of this host."""

    package: Package
    temp: Path
    host_path: Callable[[str], Path]
    _ready: dict[str, Slice] = field(default_factory=dict)

    def missing(self, files: Iterable[File]) -> list[str]:
        """The hrefs of those that are not there.  Raises BadRequest for one that is shorter than it says."""
        return [file.href for file in files if not self._parts(file)]

    def slice(self, file: File) -> Slice:
        """The file's content.  Raises BadRequest when it is not there, or is damaged."""
        if file.id not in self._ready:
            self._ready[file.id] = self._content(file)
        return self._ready[file.id]

    def whole_file(self, file: File) -> Slice:
        """The same as a file of its own, for who cannot read a part of one."""
        found = self.slice(file)
        if found.size != found.path.stat().st_size:
            found = self._ready[file.id] = self._joined([found])
        return found

    def _content(self, file: File) -> Slice:
        parts = self._parts(file)
        if not parts:
            raise BadRequest(f"missing file: {file.href[:200]}")
        whole = parts[0] if len(parts) == 1 else self._joined(parts)
        if file.compression != "gzip":
            return whole
        return Slice.of_file(gunzip(whole, self._new_file(), file.href[:120]))

    def _joined(self, parts: list[Slice]) -> Slice:
        target = self._new_file()
        write_all(target, (chunk for part in parts for chunk in part.chunks()))
        return Slice.of_file(target)

    def _new_file(self) -> Path:
        return self.temp / f"file-{len(list(self.temp.iterdir()))}"

    def _parts(self, file: File) -> list[Slice]:
        """Where the file lies, one slice or its chunks; empty when it is not there."""
        place = place_of(file.href)
        if place.host_path:
            path = self.host_path(place.host_path)
            return [Slice.of_file(path)] if path.is_file() else []
        if file.chunk_size is not None:
            found = [self.package.beside(name) for name in chunk_names(file, self.package.names_beside())]
            return [part for part in found if part is not None]
        for name in place.names:
            one = self.package.beside(name)
            if one is not None:
                _refuse_short(file, one)
                return [one]
        return []

    def names(self, file: File) -> list[str]:
        """What a manifest must list for it; nothing for a file of the host."""
        place = place_of(file.href)
        if file.chunk_size is not None:
            return chunk_names(file, self.package.names_beside())
        return [name for name in place.names if self.package.beside(name) is not None][:1]


def _refuse_short(file: File, found: Slice) -> None:
    """A copy that was cut off; exporters are careless about sizes otherwise."""
    if file.size is not None and found.size < file.size and file.compression != "gzip":
        raise BadRequest(f"{file.href[:120]!r} is cut off: it has {found.size} bytes of {file.size}")


def check_manifest(package: Package, references: References, files: Iterable[File]) -> Slice | None:
    """Hold every file against the manifest, where there is one; gives it.

    Raises BadRequest for a digest that does not match, and for a file that it does not list.
    """
    name = f"{Path(package.own_name).stem}.mf"
    found = package.beside(name)
    if found is None:
        return None
    entries = manifest.read_manifest(found.read(manifest.MAX_BYTES, name), name)
    listed = {_name_in(package, one): digest for one, digest in entries.items()}
    needed = [package.own_name, *(one for file in files for one in references.names(file))]
    for one in manifest.unlisted(listed, needed):
        raise BadRequest(f"{name} does not list {one[:120]!r}; --skip-manifest does without")
    for one, digest in listed.items():
        member = package.beside(one)
        if member is None:
            raise BadRequest(f"{name} lists {one[:120]!r}, which is missing")
        if member.digest(digest.algorithm) != digest.digits:
            raise BadRequest(
                f"{one[:120]!r} is not as {name} says: its {digest.algorithm.upper()} digest differs"
            )
    return found


def _name_in(package: Package, listed: str) -> str:
    """What a manifest lists, by the name that it has in the package: encoded or not, as hrefs are."""
    names = place_of(listed).names
    return next((name for name in names if package.beside(name) is not None), listed)
