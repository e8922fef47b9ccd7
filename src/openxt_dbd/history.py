# SPDX-License-Identifier: GPL-2.0-or-later
"""Former states on disk: the last revisions of each VM, of each dom-store and of the rest.

Files `history/<n>` below /config, of lines (see `past`).  A process adds to a file of its own; when they are
many or long, what is still wanted of them becomes one file.  A broken line is passed over, one that is there
twice counts once: whatever a crash leaves can be read.  To serve the present values they are not needed.
Who changes one text many times between two saves has the last few of these changes remembered one by one.

Files are mapped and written in pieces: megabytes in one piece would stay with the allocator for good.
"""

import logging
import operator
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from mmap import mmap
from typing import Final, TypeAlias

from openxt_dbd.disk import Disk
from openxt_dbd.past import Counter, Past, decode, encode, last_of_each, past_of, thinned
from openxt_dbd.path import Path
from openxt_dbd.recent import Event, overlap

log = logging.getLogger(__name__)

FOLDER: Final = "history"
KEPT: Final = 64
"""Revisions of each part."""
MAX_BYTES: Final = 16 * 1024 * 1024
"""Of all files; the oldest revisions go first."""
MAX_FILES: Final = 8
MAX_PENDING: Final = 16384
MAX_LARGE_BYTES: Final = 16 * 1024 * 1024
PIECE_BYTES: Final = 64 * 1024

Place: TypeAlias = tuple[int, int, int]
"""Of a line: number of the file, where it starts, where it ends."""

_at: Callable[[Event], tuple[int, Path]] = operator.itemgetter(0, 1)


class History:
    """`add` and `take` belong to one thread, `append` and `past` may be called on another, one at a time."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._fd: int | None = None
        self._number = 0  # of the file that is written now
        self._bytes = 0
        self._compacted_bytes = 0
        self._pending: list[Event] = []
        self._saving: list[Event] = []
        self._max_pending = MAX_PENDING
        self._large_bytes = 0
        self.who: Callable[[str], str] = str
        """Names the owner of a unique bus name."""

    # What is not on disk yet

    def extend(self, events: Iterable[Event]) -> None:
        self._pending.extend(events)
        if len(self._pending) >= self._max_pending:
            self._trim()

    def add_large(self, event: Event, size: int) -> None:
        """One with values so long that not many shall wait."""
        self._pending.append(event)
        self._large_bytes += size
        if self._large_bytes > MAX_LARGE_BYTES:
            self._trim()

    def _trim(self) -> None:
        self._pending = last_of_each(thinned(self._pending), KEPT, _at)
        self._max_pending = max(MAX_PENDING, 2 * len(self._pending))
        self._large_bytes = 0

    def take(self) -> Sequence[Event]:
        """What `append` shall write."""
        if self._saving:
            self._pending = self._saving + self._pending
            self._trim()
        self._saving, self._pending = self._pending, []
        self._large_bytes = 0
        return self._saving

    def taken(self) -> None:
        """What was taken is on disk."""
        self._saving = []

    def unsaved(self, path: Path) -> list[Past]:
        """What concerns a path, oldest first."""
        events = [event for event in (*self._saving, *self._pending) if overlap(event[1], path)]
        return [past_of(event, self.who) for event in last_of_each(events, KEPT, _at)]

    # Files

    def last_revision(self) -> int:
        """The highest one that any file tells of; 0 for none.  Raises OSError."""
        self._number = max(self._files(), default=0)
        self._bytes = found = 0
        for number in self._files():
            content = self._disk.view(f"{FOLDER}/{number}")
            self._bytes += len(content)
            lines = (decode(content[start:end]) for start, end in _lines_backwards(content))
            past = next(filter(None, lines), None)
            found = max(found, past.revision if past else 0)
        return found

    def append(self, events: Sequence[Event]) -> None:
        """Make them durable.  Raises OSError; they may be appended again."""
        if not events:
            return
        try:
            if self._fd is None:
                self._open_next()
            kept = last_of_each(thinned(events), KEPT, _at)
            lines = (encode(past_of(event, self.who)) for event in kept)
            self._bytes += self._write(lines)
        except OSError:
            self.close()  # what follows the torn line goes into another file
            raise
        limit = min(MAX_BYTES, 2 * self._compacted_bytes + MAX_BYTES // 8)
        if self._bytes > limit or len(self._files()) > MAX_FILES:
            self._compact()

    def past(self, path: Path) -> list[Past]:
        """What the files tell of a path, oldest first.  Raises OSError."""
        found = [past for _, past in self._last(self._files()) if overlap(past.path, path)]
        found.reverse()
        found.sort(key=lambda past: past.revision)
        return found

    def _last(self, files: Sequence[int]) -> Iterator[tuple[Place, Past]]:
        """Newest first, the last revisions of each part.

        One file is in memory at a time, and nothing of the lines is kept: they may be many.
        """
        counter, seen = Counter(KEPT), set[int]()
        for number in reversed(files):
            content = self._disk.view(f"{FOLDER}/{number}")
            for start, end in _lines_backwards(content):
                line = content[start:end]
                past = decode(line)
                if past is not None and hash(line) not in seen:
                    seen.add(hash(line))
                    if counter.counts_among_last(past.revision, past.path):
                        yield (number, start, end), past

    def _files(self) -> list[int]:
        """Numbers of the files, oldest first."""
        try:
            entries = self._disk.entries(FOLDER)
        except FileNotFoundError:
            return []
        return sorted(int(name) for name, is_folder in entries if name.isdecimal() and not is_folder)

    def _open_next(self) -> None:
        self._disk.make_folder(FOLDER)
        self._disk.sync_folder("")
        self._number += 1
        self._fd = self._disk.open_new(f"{FOLDER}/{self._number}")
        self._disk.sync_folder(FOLDER)

    def _write(self, lines: Iterable[bytes]) -> int:
        """Make them durable.  How many bytes they are."""
        assert self._fd is not None
        size = 0
        for piece in _pieces(lines):
            rest = memoryview(piece)
            while rest:
                rest = rest[self._disk.write(self._fd, rest) :]
            size += len(piece)
        self._disk.sync(self._fd)
        return size

    def _compact(self) -> None:
        """One file with what is wanted takes the place of all."""
        old = self._files()
        wanted = array("Q", chain.from_iterable(self._wanted(old)))
        self.close()
        self._open_next()
        size = self._write(self._lines_at(wanted))
        for number in old:
            self._disk.remove(f"{FOLDER}/{number}")
        self._bytes = self._compacted_bytes = size

    def _wanted(self, files: Sequence[int]) -> Iterator[Place]:
        """Lines to keep, newest first, as many as fit into half of the limit."""
        size = 0
        for place, _ in self._last(files):
            size += place[2] - place[1] + 1
            if size > MAX_BYTES // 2:
                return
            yield place

    def _lines_at(self, places: "array[int]") -> Iterator[bytes]:
        """The lines at these places, each three numbers, the last place first."""
        backwards = (tuple(places[at : at + 3]) for at in range(len(places) - 3, -1, -3))
        for number, lines in groupby(backwards, key=operator.itemgetter(0)):
            content = self._disk.view(f"{FOLDER}/{number}")
            for _, start, end in lines:
                yield content[start:end] + b"\n"

    def close(self) -> None:
        """Of the file that is written; `append` begins another.  Raises OSError."""
        fd, self._fd = self._fd, None
        if fd is not None:
            self._disk.close(fd)


def _lines_backwards(content: bytes | mmap) -> Iterator[tuple[int, int]]:
    """Where lines start and end."""
    end = len(content)
    while end > 0:
        start = content.rfind(b"\n", 0, end) + 1
        if start < end:
            yield start, end
        end = start - 1


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
