# SPDX-License-Identifier: GPL-2.0-or-later
"""A package on the host: a folder with a descriptor, or an OVA, which is an archive of such a folder.

Source: DMTF DSP0243, clauses 5.1 and 5.3.
"""

from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import BadRequest
from openxt_ovf.archive import MAX_MEMBERS, Members, open_archive
from openxt_ovf.slices import Slice
from openxt_ovf.xml_tree import MAX_BYTES

DESCRIPTOR = ".ovf"


@dataclass(frozen=True)
class Package:
    """`name` is the descriptor's, relative to `members`; its folder is where hrefs begin."""

    path: Path
    name: str
    members: Members

    def descriptor(self) -> bytes:
        found = self.members.find(self.name)
        if found is None:
            raise BadRequest(f"missing file: {self.path}")
        return found.read(MAX_BYTES, self.name)

    def beside(self, name: str) -> Slice | None:
        """A member by its name as the descriptor has it."""
        folder, slash, _ = self.name.rpartition("/")
        return self.members.find(f"{folder}{slash}{name}")

    def names_beside(self) -> list[str]:
        folder, slash, _ = self.name.rpartition("/")
        start = f"{folder}{slash}"
        return [name.removeprefix(start) for name in self.members.names() if name.startswith(start)]

    @property
    def own_name(self) -> str:
        """Of the descriptor, as manifests have it."""
        return self.name.rpartition("/")[2]


def open_package(path: Path, temp: Path) -> Package:
    """Raises BadRequest for what is no package.  `temp`: a folder for what must be unpacked."""
    kind = path.suffix.lower()
    if not path.exists():
        raise BadRequest(f"file {path} does not exist")
    if kind not in (DESCRIPTOR, ".ova"):
        raise BadRequest(f"unknown file extension: {path.name!r:.120} is neither .ovf nor .ova")
    if not path.is_file():
        raise BadRequest(f"{path} is no file")
    if kind == DESCRIPTOR:
        return Package(path, path.name, Folder(path.parent))
    try:
        members = open_archive(path, temp)
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror or error}") from error
    return Package(path, _descriptor_in(members, path), members)


def _descriptor_in(members: Members, path: Path) -> str:
    found = [name for name in members.names() if name.lower().endswith(DESCRIPTOR) and not _is_hidden(name)]
    if len(found) != 1:
        count = "no" if not found else str(len(found))
        raise BadRequest(f"{path}: {count} .ovf files inside, exactly one is expected")
    return found[0]


def _is_hidden(name: str) -> bool:
    """macOS's tar adds `._x.ovf` beside `x.ovf`."""
    return name.rpartition("/")[2].startswith(".")


@dataclass(frozen=True)
class Folder:
    """Files in place.  Links may lead to other files of the folder, not out of it."""

    root: Path

    def names(self) -> list[str]:
        return [path.name for path in self.root.iterdir() if path.is_file()][:MAX_MEMBERS]

    def find(self, name: str) -> Slice | None:
        path = self.root / name
        if not path.exists():
            return None
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise BadRequest(f"{name[:120]!r} leads out of the package")
        if not path.is_file():
            raise BadRequest(f"{name[:120]!r} is no plain file")
        return Slice.of_file(path)
