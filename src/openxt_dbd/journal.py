# SPDX-License-Identifier: GPL-2.0-or-later
"""What changed since the files were saved: a process that dies loses nothing it had acknowledged.

`/config/db.journal.<generation>` grows by one record per change, unsynced: it outlives the process,
while a power cut may cost what the last save did not sync.  A save starts a new generation
and removes the older ones whose changes are all in durable files.  A new process never goes on with an old
file.

After a power cut each part is as the last save left it, or as it was at a later moment, never a mix: before
a file is touched the closed generations are synced, so that a replay over old and new files ends in the new
state; a generation begins when the name of the one before is durable, so that none is missing in between;
one that follows a shortened one does not count, as it was not yet the ground of any file;
and the removal of those that a save made superfluous is durable before the next save begins.

A record is a line: checksum, space, JSON array, newline.  The first broken line ends a file.

    ["s", number, path, text]      the entry became a string leaf
    ["j", number, path, JSON]      the entry became this value
    ["d", number, path]            the entry went away
    ["m", number, [record…]]       changes that were one operation, all of this number: all of them or none
    ["w", who, time]               who made the changes that follow, and when (milliseconds since 1970)
    ["f", number, top, name, digest]   a file with this content holds everything up to that number
    ["g", bytes]                 the first of a file: so long the file before was, which may have come to less

Changes are unconditional, so that a replay over files of any age in between ends in the same values.  The
"f" records make it exact, order of names included: what a file holds already is not replayed over it.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from zlib import crc32

import orjson

from openxt_core.errors import Unavailable
from openxt_dbd import json_text
from openxt_dbd.disk import Disk
from openxt_dbd.path import Path
from openxt_dbd.placement import Unit
from openxt_dbd.quick import Tail
from openxt_dbd.record_file import RecordFile
from openxt_dbd.tail import encode
from openxt_dbd.tree import ABSENT, Absent, Change, Node

log = logging.getLogger(__name__)

PREFIX: Final = "db.journal."
AUTHOR_PRECISION_MS: Final = 1000


class Author(NamedTuple):
    who: str
    time_ms: int  # since 1970


NOBODY: Final = Author("", 0)


@dataclass
class Replay:
    """What the journals of former processes say."""

    changes: list[tuple[int, Change]] = field(default_factory=list)
    authors: dict[int, Author] = field(default_factory=dict)
    """Number of a change → who made it."""
    saved: list[tuple[int, Unit, bytes]] = field(default_factory=list)
    _author: Author = NOBODY

    def add(self, record: list[Any]) -> None:
        match record:
            case ["w", str(who), int(time_ms)]:
                self._author = Author(who, time_ms)
            case ["s", int(number), [*path], str(text)]:
                self._change(number, path, text)
            case ["j", int(number), [*path], str(text)]:
                self._change(number, path, json_text.loads(text))
            case ["d", int(number), [*path]]:
                self._change(number, path, ABSENT)
            case ["m", int(), [*records]]:
                for one in records:
                    self.add(one)
            case ["f", int(number), str(top), str(name), str(digest)]:
                self.saved.append((number, Unit(top, name), bytes.fromhex(digest)))
            case ["g", int()]:
                pass
            case _:
                log.error("a journal record of a kind that is not known is left out: %r", record[:1])

    def _change(self, number: int, path: list[str], node: Node | Absent) -> None:
        self.changes.append((number, Change(tuple(path), node)))
        self.authors[number] = self._author

    @property
    def last(self) -> int:
        """The highest number; 0 when there is none."""
        numbers = [number for number, _ in self.changes] + [number for number, _, _ in self.saved]
        return max(numbers, default=0)


def change_record(number: int, change: Change) -> tuple[Any, ...]:
    path, node = change
    if type(node) is str:
        return ("s", number, path, node)
    if node is ABSENT:
        return ("d", number, path)
    return ("j", number, path, json_text.dumps(node).decode())


@dataclass
class Content:
    """The whole records of a file up to the first that is not."""

    text: bytes
    size: int = 0
    """Bytes of those that were gone through."""

    def __iter__(self) -> Iterator[list[Any]]:
        for line in self.text.split(b"\n"):
            if line[8:9] != b" " or line[:8] != b"%08x" % crc32(line[9:]):
                return
            try:
                record = orjson.loads(line[9:])
            except orjson.JSONDecodeError:
                return
            self.size += len(line) + 1
            yield record

    def needs(self) -> int:
        """How long the file before must be for this one to count."""
        match next(iter(Content(self.text)), None):
            case ["g", int(size)]:
                return size
        return 0


class Journal:
    """The journal that is written now, and the older ones that still count."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._lock = threading.Lock()  # changes come from the loop, notes of saves from the saving thread
        self._file: RecordFile | None = None
        self.oldest = 1
        """Number of the first file that still counts."""
        self._sizes: dict[int, int] = {}  # of the older ones
        self._unsynced: set[int] = set()  # generations whose content a power cut may take
        self._is_settled = True  # what was made and removed in the folder is durable
        self.generation = 0
        """Number of the file that is written now."""
        self.number = 0
        """Of the last change: the database's revision.  What was one operation has one number."""
        self._author = NOBODY  # as far as the file tells
        self._is_rotated = False  # the current generation holds nothing of the save that is under way

    def replay(self) -> Replay:
        """What was left behind; writing goes on behind it.  Raises OSError."""
        replay = Replay()
        found = self._generations()
        for generation in found:
            content = Content(self._disk.read(f"{PREFIX}{generation}"))
            if content.needs() > self._sizes.get(generation - 1, content.needs()):
                self._give_up([one for one in found if one >= generation])
                break
            for record in content:
                replay.add(record)
            self._sizes[generation] = content.size
            self.generation = generation
            self._unsynced.add(generation)
            self._is_settled = False
        self.number = max(self.number, replay.last)
        return replay

    @property
    def size(self) -> int:
        """Bytes of all that still count."""
        return sum((self._sizes | {self.generation: self._last_size()}).values())

    def _last_size(self) -> int:
        return self._file.size if self._file is not None else self._sizes.get(self.generation, 0)

    def _give_up(self, generations: Sequence[int]) -> None:
        """A power cut has shortened the file before them.  The last goes first: no gap is left."""
        for generation in reversed(generations):
            log.warning("a journal whose beginning a power cut took is not taken over: %d", generation)
            self._disk.remove(f"{PREFIX}{generation}")
        self._is_settled = False

    @property
    def tail(self) -> Tail | None:
        """Where lines may be put as well; it is closed when there is another."""
        return self._file.tail if self._file is not None else None

    def note_author(self, author: Author) -> None:
        """Whose the changes are that follow.  Raises Unavailable."""
        told = self._author
        if author.who != told.who or abs(author.time_ms - told.time_ms) >= AUTHOR_PRECISION_MS:
            self._append(encode(("w", *author)))
            self._author = author

    def append(self, changes: Sequence[Change]) -> None:
        """The changes are safe from now on.  Raises Unavailable, and then none of them ever was there."""
        number = self.number + 1
        records = [change_record(number, change) for change in changes]
        # One line, even for several: what is left of a line that could not be written is no line.
        self._append(encode(records[0] if len(records) == 1 else ("m", number, records)))
        self.number = number

    def append_string(self, path: Path, value: str) -> int:
        """`append` of the usual change: a string leaf.  Its number."""
        number, file = self.number + 1, self._file
        if file is None or not file.tail.write_text(number, path, value):
            self._append(encode(("s", number, path, value)))
        self.number = number
        return number

    def note_saved(self, unit: Unit, digest: bytes, number: int) -> None:
        """To be called before the unit's file gets the content with this digest."""
        try:
            self._append(encode(("f", number, unit.top, unit.name, digest.hex())))
        except Unavailable as error:
            log.debug("%s", error)  # a replay may then get an order of names wrong, but no value

    def rotate(self) -> int:
        """Start a new generation.  The last one that holds no change from now on."""
        with self._lock:
            try:
                self._open_next()
                self._is_rotated = True
            except OSError as error:
                log.warning("no new journal, the old one goes on: %s", error)
                self._is_rotated = False
        return self.generation - 1

    def make_durable(self) -> None:
        """To be called after `rotate`, before the first file is touched.  Raises OSError."""
        for generation in sorted(self._unsynced - ({self.generation} if self._is_rotated else set())):
            self._disk.sync_file(f"{PREFIX}{generation}")
            self._unsynced.discard(generation)

    def drop(self, generation: int) -> None:
        """Everything up to this generation is durable in the files.  Raises OSError."""
        while self.oldest <= generation:
            self._is_settled = False
            self._disk.remove(f"{PREFIX}{self.oldest}")
            self._unsynced.discard(self.oldest)
            self._sizes.pop(self.oldest, None)
            self.oldest += 1
        self._settle()

    def _settle(self) -> None:
        if not self._is_settled:
            self._disk.sync_folder("")
            self._is_settled = True

    def close(self) -> None:
        """Nothing that was appended depends on it."""
        old, self._file = self._file, None
        try:
            if old is not None:
                old.close()
        except OSError as error:
            log.warning("the journal's file does not close: %s", error)

    def _generations(self) -> list[int]:
        names = [name.removeprefix(PREFIX) for name, _ in self._disk.entries("") if name.startswith(PREFIX)]
        found = sorted(int(name) for name in names if name.isdecimal())
        self.oldest = min(found, default=1)
        return found

    def _append(self, record: bytes) -> None:
        with self._lock:
            try:
                (self._file or self._open_next()).append(record)
            except OSError as error:
                raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> Unavailable:
        name = f"{PREFIX}{self.generation}"
        return Unavailable(f"cannot write {self._disk.at(name)}: {error.strerror}")

    def _open_next(self) -> RecordFile:
        self._settle()
        self._is_settled = False
        new = RecordFile(self._disk, f"{PREFIX}{self.generation + 1}")
        self._sizes[self.generation] = before = self._last_size()
        self.close()
        self._file = new
        new.append(encode(("g", before)))  # the room for it is there
        self._author = NOBODY
        self.generation += 1
        self._unsynced.add(self.generation)
        return new
