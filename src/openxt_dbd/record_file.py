# SPDX-License-Identifier: GPL-2.0-or-later
"""A file that only grows, by records that outlive the process as soon as they are appended.

The end of the file is mapped into memory, so that a record costs a copy and no system call: what is in a
shared mapping belongs to the file, whatever becomes of the process.  The room ahead is written as zeros
first; a full or failing disk is thus told by that system call, and not by a fault in the mapping.
"""

import errno
import mmap
import os
from typing import Final

from openxt_dbd.disk import Disk
from openxt_dbd.quick import Tail

ROOM_BYTES: Final = 64 * 1024
"""How much room is made at a time, beyond a record that finds none."""


class RecordFile:
    """Made empty; what was in the file is gone.  Raises OSError.

    `tail` takes records as well, where they fit: any thread may write there while one appends here.
    """

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._fd = disk.open_mapped(name)
        self._window: mmap.mmap | None = None
        self._base = 0  # of the window in the file
        try:
            self.tail = self._made_room(0, 0)
        except OSError:
            disk.close(self._fd)
            raise

    def append(self, record: bytes) -> None:
        """Raises OSError, and then the file counts as before."""
        if not self.tail.write(record):
            self._make_room(len(record))
            self.tail.write(record)

    @property
    def size(self) -> int:
        """Bytes of the records."""
        return self._base + self.tail.at

    def close(self) -> None:
        self._let_go()
        self._disk.close(self._fd)

    def _make_room(self, needed: int) -> None:
        self.tail.close()  # nobody writes past us from here on, and the next one begins at its end
        try:
            self.tail = self._made_room(self.size, needed)
        except OSError:
            assert self._window is not None
            self.tail = Tail(self._window, self.tail.at)
            raise

    def _made_room(self, start: int, needed: int) -> Tail:
        """Lengthen the file by so much and more, and look at that from now on.

        The record itself comes later: of one that is refused nothing may be found.
        """
        room = bytes(needed + ROOM_BYTES)
        if self._disk.write_at(self._fd, room, start) < len(room):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        base = start - start % mmap.PAGESIZE
        window = self._disk.map(self._fd, base, start + len(room) - base)
        self._let_go()
        self._window, self._base = window, base
        return Tail(window, start - base)

    def _let_go(self) -> None:
        if self._window is not None:
            self.tail.close()
            self._window.close()
