# SPDX-License-Identifier: GPL-2.0-or-later
"""Database files: load them all, save one so that a crash leaves the old or the new content, never half.

A file that cannot be read is set aside as `F.bad-<time>`, reported, and the rest is served; nothing but
the file of a removed entry is ever deleted.  When to save, and what, is not decided here.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from openxt_core.errors import Unavailable
from openxt_dbd import json_text
from openxt_dbd.disk import Disk
from openxt_dbd.placement import ASIDE, FOLDERS, MAIN, SUFFIX, TEMPORARY, Unit, is_file_name
from openxt_dbd.tree import FilePtr, Node, Nodes, Repeated, branch, pairs

log = logging.getLogger(__name__)

NO_FILE = b""
"""Digest of a file that does not exist."""


def digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


@dataclass
class Loaded:
    """What the files hold, and which content of each file it was, of how many bytes."""

    root: Nodes | Repeated = field(default_factory=Nodes)
    digests: dict[Unit, bytes] = field(default_factory=dict)
    sizes: dict[Unit, int] = field(default_factory=dict)
    strays: set[Unit] = field(default_factory=set)  # found in the main file, but belonging into their own


class Files:
    def __init__(self, disk: Disk, now: Callable[[], float] = time.time) -> None:
        self._disk = disk
        self._now = now
        self._ready_folders: set[str] = set()
        self._bad: dict[str, str] = {}

    # Reading

    def load(self) -> Loaded:
        """The whole tree.  Raises OSError if a folder cannot be listed, or a bad file not be set aside."""
        loaded = Loaded()
        main = self._document(MAIN.file, loaded, MAIN)
        loaded.root = self._as_root(main, loaded)
        for top, folder in FOLDERS.items():
            self._load_folder(top, folder, loaded)
        for file, why in self.bad_files():
            if not why:
                log.warning("set aside by a former process, for you to look at: %s", file)
        return loaded

    def _as_root(self, main: Node, loaded: Loaded) -> Nodes | Repeated:
        if isinstance(main, Nodes | Repeated):
            return main
        if main is not None:
            self._set_aside(MAIN.file, "it is a bare value, not an object")
            loaded.digests.pop(MAIN, None)
        return Nodes()

    def _load_folder(self, top: str, folder: str, loaded: Loaded) -> None:
        """The unit files win over entries that an older program left in the main file."""
        units = self._folder_nodes(folder, loaded, top)
        left = {name: node for key, inner in pairs(loaded.root) if key == top for name, node in pairs(inner)}
        strays = {name: node for name, node in left.items() if name not in units}
        if left:
            self._report_strays(top, strays, loaded)
        children = {name: node for name, node in strays.items() if is_file_name(name)} | units
        kept = [(name, node) for name, node in pairs(loaded.root) if name != top]
        if children:
            kept.append((top, Nodes(children)))
        loaded.root = branch(kept)

    def _report_strays(self, top: str, strays: dict[str, Node], loaded: Loaded) -> None:
        log.warning("the main file holds %d entries of /%s, which have files of their own", len(strays), top)
        self._keep_copy(MAIN.file)
        loaded.strays |= {MAIN} | {Unit(top, name) for name in strays if is_file_name(name)}

    def _folder_nodes(self, folder: str, loaded: Loaded, top: str = "") -> dict[str, Node]:
        """Documents first, then binary files, then folders; a name that is taken stays taken."""
        names, folders = self._names(folder)
        found: dict[str, Node] = {}
        for name in names:
            if name.endswith(SUFFIX):
                key = name.removesuffix(SUFFIX)
                found[key] = self._document(f"{folder}/{name}", loaded, Unit(top, key) if top else None)
        for name, actual in names.items():
            if not name.endswith(SUFFIX) and found.get(name) is None:
                found[name] = FilePtr(str(self._disk.at(f"{folder}/{actual}")))
        for name in folders:
            self._add_folder(found, name, self._folder_nodes(f"{folder}/{name}", loaded))
        return {key: node for key, node in found.items() if node is not _BAD}

    def _add_folder(self, found: dict[str, Node], name: str, inner: dict[str, Node]) -> None:
        """A document of the folder's name is newer than the documents in it: it was saved from both."""
        document = found.get(name)
        if document is None or document is _BAD:
            found[name] = Nodes(inner)
        elif isinstance(document, Nodes):
            binary: dict[str, Node] = {key: node for key, node in inner.items() if isinstance(node, FilePtr)}
            found[name] = Nodes(document | binary)

    def _names(self, folder: str) -> tuple[dict[str, str], list[str]]:
        """Names of files (without `.tmp`) → the file; and names of folders.  A missing folder is empty."""
        try:
            entries = self._disk.entries(folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            log.info("no files of %s: %s", folder, error.strerror)
            return {}, []
        names: dict[str, str] = {}
        for name, is_folder in entries:
            if is_folder or ASIDE in name or not _is_text(name):
                continue
            final = name.removesuffix(TEMPORARY)
            if final not in names or name == final:
                names[final] = name
        return names, [name for name, is_folder in entries if is_folder and _is_text(name)]

    def _document(self, file: str, loaded: Loaded, unit: Unit | None) -> Node:
        """The value in a file; None if there is none, `_BAD` if it had to be set aside."""
        self._recover(file)
        if not self._disk.is_file(file):
            return None if unit == MAIN else _BAD
        try:
            content = self._disk.read(file)
            node = json_text.loads(content) if content.strip() else None
        except (json_text.BadText, OSError) as error:
            self._set_aside(file, str(error))
            return None if unit == MAIN else _BAD
        if unit is not None:
            loaded.digests[unit] = digest(content)
            loaded.sizes[unit] = len(content)
        return node

    def seed(self, default: Path) -> None:
        """A host that has no database yet starts with the default one."""
        if self._disk.is_file(MAIN.file) or self._disk.is_file(MAIN.file + TEMPORARY):
            return
        try:
            content = default.read_bytes()
        except OSError as error:
            log.warning("no database, and no default one either (%s): it starts empty", error)
            return
        self.save(MAIN, content)
        self.sync_folder_of(MAIN)

    # Repair

    def _recover(self, file: str) -> None:
        """A save was cut short: the file wins, else a complete temporary file becomes the file."""
        temporary = file + TEMPORARY
        if not self._disk.is_file(temporary):
            return
        if self._disk.is_file(file):
            self._disk.remove(temporary)
            return
        try:
            json_text.loads(self._disk.read(temporary))
        except json_text.BadText as error:
            self._set_aside(temporary, str(error))
            return
        log.warning("%s was missing: taken from %s", file, temporary)
        self._disk.rename(temporary, file)

    def _set_aside(self, file: str, why: str) -> None:
        aside = self._aside_name(file)
        self._disk.rename(file, aside)
        self._disk.sync_folder(_folder(file))
        self._bad[aside] = why
        log.error("%s is damaged (%s): set aside as %s, the rest is served", file, why, aside)

    def bad_files(self) -> list[tuple[str, str]]:
        """The files that were set aside, with what was wrong with those that this process found."""
        found = [name for folder in ("", *FOLDERS.values()) for name in self._aside_in(folder)]
        return [(str(self._disk.at(name)), self._bad.get(name, "")) for name in found]

    def _aside_in(self, folder: str) -> list[str]:
        try:
            entries = self._disk.entries(folder)
        except OSError:
            return []
        found: list[str] = []
        for name, is_folder in entries:
            path = f"{folder}/{name}" if folder else name
            if is_folder and folder:
                found += self._aside_in(path)
            elif ASIDE in name and not is_folder:
                found.append(path)
        return found

    def _keep_copy(self, file: str) -> None:
        self.put(self._aside_name(file), self._disk.read(file))

    def _aside_name(self, file: str) -> str:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now()))
        path = PurePosixPath(file)
        base = str(path.with_name(path.name[:60] + ASIDE + stamp))
        return next(name for name in _numbered(base) if not self._disk.is_file(name))

    # Writing

    def save(self, unit: Unit, content: bytes) -> None:
        """`put` for the file of a unit, whose folder is made if it is missing."""
        self._prepare(_folder(unit.file))
        self.put(unit.file, content)

    def _prepare(self, folder: str) -> None:
        """A folder must not be lost with all that is saved in it."""
        if folder not in self._ready_folders:
            self._disk.make_folder(folder)
            self._disk.sync_folder(_folder(folder))
            self._ready_folders.add(folder)

    def remove(self, unit: Unit) -> None:
        self._disk.remove(unit.file)

    def sync_folder_of(self, unit: Unit) -> None:
        self._disk.sync_folder(_folder(unit.file))

    def put(self, file: str, content: bytes) -> None:
        """The file gets this content, at once.  Durable once the folder is synced too."""
        temporary = file + TEMPORARY
        try:
            self._write(temporary, content)
            self._disk.rename(temporary, file)
        except OSError:
            self._drop(temporary)
            raise

    def _drop(self, temporary: str) -> None:
        """The next start would take it for the file, once the file's entry has been removed."""
        try:
            self._disk.remove(temporary)
        except OSError as error:
            log.warning("%s stays: %s", temporary, error)

    def _write(self, temporary: str, content: bytes) -> None:
        fd = self._disk.open_new(temporary)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[self._disk.write(fd, rest) :]
            # Before the rename: a crash then leaves the old file or the new one, never an empty one.
            self._disk.sync(fd)
        finally:
            self._disk.close(fd)


_BAD = FilePtr("")
"""Stands for a document that is not there to be served."""


def read_binary(node: FilePtr) -> bytes:
    """Content of a binary node now.  Raises Unavailable with the original's texts."""
    try:
        file = open(node.file, "rb")  # noqa: SIM115  (closed below; the two failures have two texts)
    except OSError as error:
        raise Unavailable("exception occured") from error  # sic
    with file:
        try:
            return file.read()
        except OSError as error:
            raise Unavailable("input error occured") from error  # sic


def _folder(file: str) -> str:
    return str(PurePosixPath(file).parent)


def _numbered(base: str) -> Iterator[str]:
    yield base
    for number in range(1, 10_000):
        yield f"{base}.{number}"


def _is_text(name: str) -> bool:
    """The bus carries no name that is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        log.warning("a file whose name is not UTF-8 is left alone: %r", name)
        return False
    return True
