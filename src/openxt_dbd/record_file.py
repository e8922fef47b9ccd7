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

ROOM_BYTES: Final = 64 * 1024
"""How much room is made at a time, beyond a record that finds none."""


class RecordFile:
    """Made empty; what was in the file is gone.  Raises OSError."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._fd = disk.open_mapped(name)
        self._window = mmap.mmap(-1, mmap.PAGESIZE)
        self._base = 0  # of the window in the file; its position is where the records end
        try:
            self._make_room(0)
        except OSError:
            disk.close(self._fd)
            raise

    def append(self, record: bytes) -> None:
        """Raises OSError, and then the file counts as before."""
        try:
            self._window.write(record)
        except ValueError:  # it does not fit
            self._make_room(len(record))
            self._window.write(record)

    @property
    def size(self) -> int:
        """Bytes of the records."""
        return self._base + self._window.tell()

    def close(self) -> None:
        self._window.close()
        self._disk.close(self._fd)

    def _make_room(self, needed: int) -> None:
        """Lengthen the file by so much and more, and look at that from now on.

        The record itself comes later: of one that is refused nothing may be found.
        """
        start, room = self.size, bytes(needed + ROOM_BYTES)
        if self._disk.write_at(self._fd, room, start) < len(room):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        base = start - start % mmap.PAGESIZE
        window = self._disk.map(self._fd, base, start + len(room) - base)
        window.seek(start - base)
        self._window.close()
        self._window, self._base = window, base
