# SPDX-License-Identifier: GPL-2.0-or-later
"""What changed since the files were saved: a process that dies loses nothing it had acknowledged.

`/config/db.journal.<generation>` grows by one record per change, in one write and unsynced: it outlives
the process, while a power cut may cost what the last save did not cover.  A save starts a new generation
and removes the older ones when all files are durable.  A new process never goes on with an old file.

A record is a line: checksum, space, JSON array, newline.  The first broken line ends a file.

    ["s", number, path, text]      the entry became a string leaf
    ["j", number, path, JSON]      the entry became this value
    ["d", number, path]            the entry went away
    ["f", number, top, name, digest]   a file with this content holds everything up to that number

Changes are unconditional, so that a replay over files of any age in between ends in the same values.  The
"f" records make it exact, order of names included: what a file holds already is not replayed over it.
"""

import errno
import logging
import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from openxt_core.errors import Unavailable
from openxt_dbd import json_text
from openxt_dbd.disk import Disk
from openxt_dbd.placement import Unit
from openxt_dbd.tree import ABSENT, Change

log = logging.getLogger(__name__)

PREFIX: Final = "db.journal."


@dataclass
class Replay:
    """What the journals of former processes say."""

    changes: list[tuple[int, Change]] = field(default_factory=list)
    saved: list[tuple[int, Unit, bytes]] = field(default_factory=list)

    def add(self, record: list[Any]) -> None:
        match record:
            case ["s", int(number), [*path], str(text)]:
                self.changes.append((number, Change(tuple(path), text)))
            case ["j", int(number), [*path], str(text)]:
                self.changes.append((number, Change(tuple(path), json_text.loads(text))))
            case ["d", int(number), [*path]]:
                self.changes.append((number, Change(tuple(path), ABSENT)))
            case ["f", int(number), str(top), str(name), str(digest)]:
                self.saved.append((number, Unit(top, name), bytes.fromhex(digest)))
            case _:
                log.error("a journal record of a kind that is not known is left out: %r", record[:1])

    @property
    def last(self) -> int:
        """The highest number; 0 when there is none."""
        numbers = [number for number, _ in self.changes] + [number for number, _, _ in self.saved]
        return max(numbers, default=0)


def encode(record: tuple[Any, ...]) -> bytes:
    text = orjson.dumps(record)
    return b"%08x %b\n" % (zlib.crc32(text), text)


def encode_change(number: int, change: Change) -> bytes:
    path, node = change
    if type(node) is str:
        return encode(("s", number, path, node))
    if node is ABSENT:
        return encode(("d", number, path))
    return encode(("j", number, path, json_text.dumps(node).decode()))


def decode(content: bytes) -> Iterator[list[Any]]:
    """The whole records of a file up to the first that is not."""
    for line in content.split(b"\n"):
        if line[8:9] != b" " or line[:8] != b"%08x" % zlib.crc32(line[9:]):
            return
        yield orjson.loads(line[9:])


class Journal:
    """The journal that is written now, and the older ones that still count."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._lock = threading.Lock()  # changes come from the loop, notes of saves from the saving thread
        self._fd: int | None = None
        self._size = 0
        self._is_torn = False
        self.generation = 0
        """Number of the file that is written now."""
        self._oldest = 1
        self.number = 0
        """Of the last change."""

    def replay(self) -> Replay:
        """What was left behind; writing goes on behind it.  Raises OSError."""
        replay = Replay()
        for generation in self._generations():
            for record in decode(self._disk.read(f"{PREFIX}{generation}")):
                replay.add(record)
            self.generation = generation
        self.number = replay.last
        return replay

    def append(self, changes: Sequence[Change]) -> None:
        """The changes are safe from now on.  Raises Unavailable, and then none of them ever was there."""
        with self._lock:
            numbered = enumerate(changes, self.number + 1)
            self._write(b"".join([encode_change(number, change) for number, change in numbered]))
            self.number += len(changes)

    def note_saved(self, unit: Unit, digest: bytes, number: int) -> None:
        """To be called before the unit's file gets the content with this digest."""
        record = encode(("f", number, unit.top, unit.name, digest.hex()))
        try:
            with self._lock:
                self._write(record)
        except Unavailable as error:
            log.debug("%s", error)  # a replay may then get an order of names wrong, but no value

    def rotate(self) -> int:
        """Start a new generation.  The last one that holds no change from now on."""
        with self._lock:
            try:
                self._open_next()
            except OSError as error:
                log.warning("no new journal, the old one goes on: %s", error)
        return self.generation - 1

    def drop(self, generation: int) -> None:
        """Everything up to this generation is durable in the files.  Raises OSError."""
        while self._oldest <= generation:
            self._disk.remove(f"{PREFIX}{self._oldest}")
            self._oldest += 1

    def close(self) -> None:
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None

    def _generations(self) -> list[int]:
        names = [name.removeprefix(PREFIX) for name, _ in self._disk.entries("") if name.startswith(PREFIX)]
        found = sorted(int(name) for name in names if name.isdecimal())
        self._oldest = min(found, default=1)
        return found

    def _open_next(self) -> int:
        fd = self._disk.open_new(f"{PREFIX}{self.generation + 1}")
        self.close()
        self._fd, self._size, self._is_torn = fd, 0, False
        self.generation += 1
        return fd

    def _write(self, record: bytes) -> None:
        try:
            fd = self._open_next() if self._fd is None else self._fd
            if self._is_torn:
                self._take_back(fd)
            self._is_torn = True
            if self._disk.write(fd, record) != len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            name = f"{PREFIX}{self.generation}"
            raise Unavailable(f"cannot write {self._disk.at(name)}: {error.strerror}") from error
        self._size += len(record)
        self._is_torn = False

    def _take_back(self, fd: int) -> None:
        """Half a record would hide those behind it."""
        self._disk.truncate(fd, self._size)
