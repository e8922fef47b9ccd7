# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a journal, mapped into memory.  native/quick/tail.c does the same, where it was built."""

import mmap
import threading
from typing import Any
from zlib import crc32

import orjson

from openxt_dbd.path import Path


def encode(record: tuple[Any, ...]) -> bytes:
    """A record as a line of the journal."""
    text = orjson.dumps(record)
    return b"%08x %b\n" % (crc32(text), text)


class Tail:
    """Writes behind what is there, as long as there is room: `at` is where the records end in the window.

    Threads may write at the same time.
    """

    def __init__(self, window: mmap.mmap, at: int) -> None:
        if not 0 <= at <= len(window):
            raise ValueError("the end of the records is not in the window")
        self._view = memoryview(window)
        self._end = len(window)
        self._lock = threading.Lock()
        self.at = at

    def write(self, record: bytes) -> bool:
        """False, and nothing done, where it does not fit."""
        with self._lock:
            at, end = self.at, self.at + len(record)
            if end > self._end:
                return False
            self._view[at:end] = record
            self.at = end
            return True

    def write_text(self, number: int, path: Path, text: str) -> bool:
        """As `write`, the line of a text leaf; False for unusual ones, too."""
        return self.write(encode(("s", number, path, text)))

    def close(self) -> None:
        """Let go of the window; nothing fits any more."""
        with self._lock:
            self._view.release()
            self._end = -1
