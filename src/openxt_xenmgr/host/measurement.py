# SPDX-License-Identifier: GPL-2.0-or-later
"""SHA-256 of everything that a file system holds: one number that changes when any content changes.

What is hashed, version 1: the words `openxt-measurement 1`, a zero byte, and then one record for each entry
of the tree, the root first.  The entries of a folder come in the order of their names' bytes, what is in a
folder directly after it.  A record is

    TYPE MODE UID GID CONTENT ATTRIBUTES PATH

with one space between the fields and a zero byte at the end.  TYPE is `f` for a file of at most 4 MiB, `F`
for a larger one, `d`, `l`, `c`, `b`, `p`, `s` for a folder, symbolic link, character and block device, pipe
and socket.  MODE has four octal digits (permissions, setuid, setgid, sticky).  CONTENT is, in hex, for `f`
the SHA-256 of the file; for `F` that of the SHA-256s (32 bytes each) of its pieces of 4 MiB, the last of
which may be shorter; for `l` that of the target; for devices MAJOR:MINOR in decimal; else `-`.  ATTRIBUTES
is `-`, or the SHA-256 of the extended attributes, ascending by name, each NAME, a zero byte, its length in
decimal, a space, its value.  PATH is relative to the root, which is `.`.

So contents, names, owners, permissions, capabilities and access lists count.  Times do not, as reading
changes them; nor do link counts, holes, free space, the order on the disk; nor `security.selinux`, as
what dom0 reads there depends on its own policy.

Pieces make one large file as parallel as many small ones, and a hole costs nothing.  Nothing is followed: no
link is read through, no device or pipe is opened.  The caller has made the root its own (chroot), so that no
name can lead out of it.
"""

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

HEADER = b"openxt-measurement 1\0"
PIECE = 4 * 1024 * 1024
READ_SIZE = 1024 * 1024
BATCH_ENTRIES = 128
BATCH_BYTES = 4 * 1024 * 1024
WINDOW = 4  # jobs under way, a worker

NOT_MEASURED = frozenset({"security.selinux"})
_LETTERS = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
    stat.S_IFIFO: "p",
    stat.S_IFSOCK: "s",
}
# What turns out not to be a plain file after all must not block, become our terminal, or be followed.
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ZERO_PIECE = hashlib.sha256(bytes(PIECE)).digest()


@dataclass(frozen=True, slots=True)
class Entry:
    path: bytes  # as it can be opened
    info: os.stat_result

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.info.st_mode)

    @property
    def is_large(self) -> bool:
        return self.is_file and self.info.st_size > PIECE


def measure(root: bytes, workers: int) -> str:
    """The number, in hex.  Raises OSError, with the path, for what cannot be read."""
    with ThreadPoolExecutor(workers) as pool:
        return _Measurement(root, pool, workers * WINDOW).run()


def entries(root: bytes) -> Iterator[Entry]:
    """Everything below `root`, and `root` itself, in the defined order."""
    todo = [Entry(root, os.lstat(root))]
    while todo:
        entry = todo.pop()
        yield entry
        if stat.S_ISDIR(entry.info.st_mode):
            with os.scandir(entry.path) as found:
                below = sorted(found, key=lambda one: one.name, reverse=True)
            todo += [Entry(one.path, one.stat(follow_symlinks=False)) for one in below]


@dataclass
class _Measurement:
    root: bytes
    pool: ThreadPoolExecutor
    window: int
    total: "hashlib._Hash" = field(default_factory=lambda: hashlib.sha256(HEADER))
    pending: "deque[Future[bytes]]" = field(default_factory=deque)  # records, in order
    known: dict[tuple[int, int], bytes] = field(default_factory=dict)  # files with several names: by inode

    def run(self) -> str:
        try:
            for batch in self._batches():
                if batch[0].is_large:
                    self._drain(0)
                    self.total.update(self._record(batch[0], self._large))
                else:
                    self.pending.append(self.pool.submit(self._records, batch))
                    self._drain(self.window)
            self._drain(0)
        except BaseException:
            self.pool.shutdown(wait=False, cancel_futures=True)
            raise
        return self.total.hexdigest()

    def _batches(self) -> Iterator[list[Entry]]:
        """Entries that one worker does at a time; a large file is alone, as its pieces are shared out."""
        batch: list[Entry] = []
        size = 0
        for entry in entries(self.root):
            if batch and (entry.is_large or len(batch) == BATCH_ENTRIES or size > BATCH_BYTES):
                yield batch
                batch, size = [], 0
            if entry.is_large:
                yield [entry]
                continue
            batch.append(entry)
            size += entry.info.st_size
        if batch:
            yield batch

    def _drain(self, allowed: int) -> None:
        while len(self.pending) > allowed:
            self.total.update(self.pending.popleft().result())

    def _records(self, batch: list[Entry]) -> bytes:
        return b"".join([self._record(entry, _small) for entry in batch])

    def _record(self, entry: Entry, content: Callable[[Entry], bytes]) -> bytes:
        info = entry.info
        letter = "F" if entry.is_large else _LETTERS[stat.S_IFMT(info.st_mode)]
        head = f"{letter} {stat.S_IMODE(info.st_mode):04o} {info.st_uid} {info.st_gid}"
        what = self._once(entry, content) if entry.is_file else _special(entry)
        path = entry.path[len(self.root) :].lstrip(b"/") or b"."
        return b" ".join((head.encode(), what, _attributes(entry.path), path)) + b"\0"

    def _once(self, entry: Entry, content: Callable[[Entry], bytes]) -> bytes:
        """A file with thousands of names is read once."""
        if entry.info.st_nlink == 1:
            return content(entry)
        key = (entry.info.st_dev, entry.info.st_ino)
        if key not in self.known:
            self.known[key] = content(entry)
        return self.known[key]

    def _large(self, entry: Entry) -> bytes:
        file = opened(entry)
        try:
            return self._pieced(file, entry)
        finally:
            os.close(file)

    def _pieced(self, file: int, entry: Entry) -> bytes:
        whole = hashlib.sha256()
        under_way: deque[Callable[[], bytes]] = deque()
        for at, size, is_hole in _pieces(file, entry.info.st_size):
            if is_hole:
                under_way.append(partial(_zeros, size))
            else:
                under_way.append(self.pool.submit(_piece, file, at, size, entry.path).result)
            if len(under_way) > self.window:
                whole.update(under_way.popleft()())
        for piece in under_way:
            whole.update(piece())
        return whole.hexdigest().encode()


def _special(entry: Entry) -> bytes:
    match stat.S_IFMT(entry.info.st_mode):
        case stat.S_IFLNK:
            return hashlib.sha256(os.readlink(entry.path)).hexdigest().encode()  # noqa: PTH115 - bytes
        case stat.S_IFCHR | stat.S_IFBLK:
            return f"{os.major(entry.info.st_rdev)}:{os.minor(entry.info.st_rdev)}".encode()
    return b"-"


def _attributes(path: bytes) -> bytes:
    try:
        names = sorted(set(os.listxattr(path, follow_symlinks=False)) - NOT_MEASURED)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        names = []
    if not names:
        return b"-"
    digest = hashlib.sha256()
    for name in map(os.fsencode, names):
        value = os.getxattr(path, name, follow_symlinks=False)
        digest.update(b"%s\0%d %s" % (name, len(value), value))
    return digest.hexdigest().encode()


def opened(entry: Entry) -> int:
    """For reading.  Raises OSError when it is not what was seen: it may be no file any more."""
    file = os.open(entry.path, _OPEN_FLAGS)
    info = os.fstat(file)
    known = entry.info
    if (info.st_ino, info.st_mode, info.st_size) != (known.st_ino, known.st_mode, known.st_size):
        os.close(file)
        raise OSError(0, "it changed while it was measured", entry.path)
    return file


def _small(entry: Entry) -> bytes:
    file = opened(entry)
    try:
        return hashlib.sha256(_read(file, 0, entry.info.st_size, entry.path)).hexdigest().encode()
    finally:
        os.close(file)


def _piece(file: int, at: int, size: int, path: bytes) -> bytes:
    digest = hashlib.sha256()
    for offset in range(at, at + size, READ_SIZE):
        digest.update(_read(file, offset, min(READ_SIZE, at + size - offset), path))
    return digest.digest()


def _read(file: int, at: int, size: int, path: bytes) -> bytes:
    """Exactly so many bytes.  Raises OSError for fewer: a file is never taken for a shorter one."""
    content = b""
    while len(content) < size:
        try:
            more = os.pread(file, size - len(content), at + len(content))
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error
        if not more:
            raise OSError(0, "it ends too early", path)
        content += more
    return content


def _pieces(file: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """Where each piece begins, its length, and whether it is a hole."""
    data = -1
    for at in range(0, size, PIECE):
        if data < at:
            data = _next_data(file, at, size)
        length = min(PIECE, size - at)
        yield at, length, data >= at + length


def _next_data(file: int, at: int, size: int) -> int:
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except OSError:  # ENXIO: a hole up to the end
        return size


def _zeros(size: int) -> bytes:
    return _ZERO_PIECE if size == PIECE else hashlib.sha256(bytes(size)).digest()
