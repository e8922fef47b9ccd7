# SPDX-License-Identifier: GPL-2.0-or-later
"""A file system in memory that promises no more than POSIX does, and the ways in which it can end.

What was written lives in a cache.  `fsync` of a file makes its content safe, but not its name; `fsync` of
a folder makes safe which names are in it.  A killed process leaves the cache (`after_kill`).  A power cut
(`after_power_cut`) leaves what is safe, and of the rest anything: each page old, new or torn, each change
of a folder there or not, in whatever order they were made.  Other disks here break a rule on purpose.
"""

import errno
import mmap
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from openxt_dbd.disk import Disk, Entry

Touch = Callable[[int, str, str], None]
"""Is told number, name and file of each system call before it is made; may raise, and then it is not made."""

WRITING = ("make_folder", "open_new", "open_mapped", "write", "write_at", "map", "sync", "sync_file")
WRITING += ("close", "rename", "remove", "sync_folder")


def never(_number: int, _call: str, _file: str) -> None:
    """Nothing fails."""


class Window(mmap.mmap):
    """A mapped part of a file."""

    def __new__(cls, _inode: "Inode", _position: int, size: int) -> "Window":
        return super().__new__(cls, -1, size)

    def __init__(self, inode: "Inode", position: int, _size: int) -> None:
        self.inode, self.position = inode, position
        self[:] = inode.content()[position : position + len(self)]
        inode.windows.append(self)

    def close(self) -> None:
        self.inode.data = bytearray(self.inode.content())
        self.inode.windows.remove(self)
        super().close()


@dataclass(eq=False)
class Inode:
    """A file without a name.  `safe` is what `fsync` has seen of it; None: not even its size."""

    data: bytearray = field(default_factory=bytearray)
    safe: bytes = b""
    windows: list[Window] = field(default_factory=list)

    def content(self) -> bytes:
        whole = bytearray(self.data)
        for window in self.windows:
            whole[window.position : window.position + len(window)] = window[:]
        return bytes(whole)

    def put(self, content: bytes, position: int) -> None:
        self.data = bytearray(self.content())
        self.data.extend(bytes(max(0, position - len(self.data))))
        self.data[position : position + len(content)] = content
        for window in self.windows:
            window[:] = self.data[window.position : window.position + len(window)]


@dataclass(frozen=True)
class NameChange:
    """One change of a folder, whole or not at all: names and the files they stand for (None: nothing)."""

    folder: str
    names: tuple[tuple[str, Inode | None], ...] = ()
    new_folder: str = ""


class SimDisk(Disk):
    def __init__(self, touch: Touch = never) -> None:
        super().__init__(Path("/sim"))
        self.touch = touch
        self.count = 0
        self.names: dict[str, Inode] = {}
        self.folders = {"."}
        self.safe_names: dict[str, Inode] = {}
        self.safe_folders = {"."}
        self.pending: list[NameChange] = []
        self._open: dict[int, tuple[Inode, int, str]] = {}
        self._next_fd = 3

    def _call(self, name: str, file: str) -> bool:
        """Whether a write shall take all that it is given."""
        self.count += 1
        try:
            self.touch(self.count, name, file)
        except ShortWrite:
            return False
        return True

    # Reading

    def lock(self) -> None:
        """Nobody else is here."""

    def entries(self, path: str) -> list[Entry]:
        self._call("entries", path)
        folder = str(PurePosixPath(path))
        if folder not in self.folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        found = [Entry(_name(file), False) for file in self.names if _folder(file) == folder]
        found += [Entry(_name(one), True) for one in self.folders if one != "." and _folder(one) == folder]
        return sorted(found)

    def is_file(self, path: str) -> bool:
        self._call("is_file", path)
        return path in self.names

    def read(self, path: str) -> bytes:
        self._call("read", path)
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self.names[path].content()

    def view(self, path: str) -> bytes:
        return self.read(path)

    # Writing

    def make_folder(self, path: str) -> None:
        self._call("make_folder", path)
        whole = PurePosixPath(path)
        for folder in map(str, (*reversed(whole.parents), whole)):
            if folder not in self.folders:
                self._change(NameChange(_folder(folder), new_folder=folder))

    def open_new(self, path: str) -> int:
        self._call("open_new", path)
        return self._opened(path)

    def open_mapped(self, path: str) -> int:
        self._call("open_mapped", path)
        return self._opened(path)

    def _opened(self, path: str) -> int:
        if _folder(path) not in self.folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        inode = self.names.get(path)
        if inode is None:
            inode = Inode()
            self._change(NameChange(_folder(path), ((path, inode),)))
        inode.data = bytearray()
        self._next_fd += 1
        self._open[self._next_fd] = (inode, 0, path)
        return self._next_fd

    def write(self, fd: int, content: bytes | memoryview) -> int:
        inode, position, path = self._open[fd]
        taken = self._taken("write", path, bytes(content))
        inode.put(taken, position)
        self._open[fd] = (inode, position + len(taken), path)
        return len(taken)

    def write_at(self, fd: int, content: bytes, position: int) -> int:
        inode, _, path = self._open[fd]
        taken = self._taken("write_at", path, content)
        inode.put(taken, position)
        return len(taken)

    def _taken(self, call: str, path: str, content: bytes) -> bytes:
        return content if self._call(call, path) else content[: len(content) // 2]

    def map(self, fd: int, position: int, size: int) -> mmap.mmap:
        inode, _, path = self._open[fd]
        self._call("map", path)
        return Window(inode, position, size)

    def sync(self, fd: int) -> None:
        inode, _, path = self._open[fd]
        self._call("sync", path)
        inode.safe = inode.content()

    def sync_file(self, path: str) -> None:
        self._call("sync_file", path)
        self.names[path].safe = self.names[path].content()

    def close(self, fd: int) -> None:
        path = self._open[fd][2]
        del self._open[fd]  # whatever `close` says, the descriptor is gone
        self._call("close", path)

    def rename(self, old: str, new: str) -> None:
        self._call("rename", new)
        if old not in self.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), old)
        self._change(NameChange(_folder(new), ((old, None), (new, self.names[old]))))

    def remove(self, path: str) -> None:
        self._call("remove", path)
        if path in self.names:
            self._change(NameChange(_folder(path), ((path, None),)))

    def sync_folder(self, path: str) -> None:
        self._call("sync_folder", path)
        folder = str(PurePosixPath(path))
        for change in self.pending:
            if change.folder == folder:
                _carry_out(change, self.safe_names, self.safe_folders)
        self.pending = [change for change in self.pending if change.folder != folder]

    def _change(self, change: NameChange) -> None:
        _carry_out(change, self.names, self.folders)
        self.pending.append(change)

    # Ends

    def after_kill(self) -> "SimDisk":
        """The process is gone, the system goes on: nothing is lost, nothing more is safe."""
        return self._copy(lambda inode: Inode(bytearray(inode.content()), inode.safe))

    def after_power_cut(self, dice: "Dice") -> "SimDisk":
        """What the next start of the machine finds; all of it is safe then."""
        known: dict[Inode, Inode] = {}
        found = SimDisk()
        names, folders = dict(self.safe_names), set(self.safe_folders)
        for change in self.pending:
            if dice.keeps_names():
                _carry_out(change, names, folders)
        for path, inode in names.items():
            if _is_reachable(path, folders):
                if inode not in known:
                    content = dice.remains(inode.content(), inode.safe)
                    known[inode] = Inode(bytearray(content), content)
                found.names[path] = known[inode]
        found.folders = {folder for folder in folders if folder == "." or _is_reachable(folder, folders)}
        found.safe_names, found.safe_folders = dict(found.names), set(found.folders)
        return found

    def _copy(self, of: Callable[[Inode], Inode]) -> "SimDisk":
        known: dict[Inode, Inode] = {}

        def same(inode: Inode) -> Inode:
            return known.setdefault(inode, of(inode)) if inode not in known else known[inode]

        found = SimDisk()
        found.names = {path: same(inode) for path, inode in self.names.items()}
        found.safe_names = {path: same(inode) for path, inode in self.safe_names.items()}
        found.folders, found.safe_folders = set(self.folders), set(self.safe_folders)
        for change in self.pending:
            names = tuple((path, inode and same(inode)) for path, inode in change.names)
            found.pending.append(NameChange(change.folder, names, change.new_folder))
        return found


class ShortWrite(Exception):
    """Raised by a `touch`: if the call is a write, it takes half of what it is given."""


class Dice:
    """Decides what a power cut leaves of what was not safe.  By default: all names, no data."""

    def keeps_names(self) -> bool:
        return True

    def remains(self, content: bytes, safe: bytes) -> bytes:
        """A file of the new size whose pages never came to the disk: zeros where nothing safe was."""
        return content if content == safe else _mixed(content, safe, len(content), lambda: 0)


class NothingKept(Dice):
    """Only what is safe."""

    def keeps_names(self) -> bool:
        return False

    def remains(self, content: bytes, safe: bytes) -> bytes:
        return safe


class DataOnly(NothingKept):
    """All data came to the disk, but no name that was not safe."""

    def remains(self, content: bytes, safe: bytes) -> bytes:
        return content


class Random(Dice):
    """Each name, size and page for itself."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._share = self._random.choice((0.2, 0.5, 0.8, 1.0))

    def keeps_names(self) -> bool:
        return self._random.random() < self._share

    def remains(self, content: bytes, safe: bytes) -> bytes:
        if content == safe:
            return safe
        size = self._random.choice((len(safe), len(content), min(len(safe), len(content))))
        return _mixed(content, safe, size, self._written)

    def _written(self) -> int:
        return self._random.choice((0, mmap.PAGESIZE, self._random.randrange(mmap.PAGESIZE)))


def _mixed(content: bytes, safe: bytes, size: int, written: Callable[[], int]) -> bytes:
    """Of each page so many bytes of the new content, then the safe one's or zeros."""
    old, found = safe[:size].ljust(size, b"\0"), bytearray()
    for start in range(0, size, mmap.PAGESIZE):
        cut = start + written()
        end = min(start + mmap.PAGESIZE, size)
        page = content[start : min(cut, end)]
        found += page + old[start + len(page) : end]
    return bytes(found)


def _carry_out(change: NameChange, names: dict[str, Inode], folders: set[str]) -> None:
    if change.new_folder:
        folders.add(change.new_folder)
    for path, inode in change.names:
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode


def _is_reachable(path: str, folders: set[str]) -> bool:
    folder = _folder(path)
    return folder == "." or (folder in folders and _is_reachable(folder, folders))


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _name(path: str) -> str:
    return PurePosixPath(path).name


# Disks that lie


class ForgetfulDisk(SimDisk):
    """Says that a file is safe, and does nothing."""

    def sync(self, fd: int) -> None:
        self._call("sync", self._open[fd][2])

    def sync_file(self, path: str) -> None:
        self._call("sync_file", path)


class NamelessDisk(SimDisk):
    """Says that a folder is safe, and does nothing."""

    def sync_folder(self, path: str) -> None:
        self._call("sync_folder", path)


class UnlinkingDisk(SimDisk):
    """Replaces a file in two steps, as the original did."""

    def rename(self, old: str, new: str) -> None:
        self.remove(new)
        super().rename(old, new)
