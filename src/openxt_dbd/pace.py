# SPDX-License-Identifier: GPL-2.0-or-later
"""Which unsaved parts a save takes: small ones always, large ones in turn, so many bytes a second.  Pure.

The journal makes changes durable, so a file that follows later costs nothing but the time to replay; a full
dom-store takes as long to write as a hundred values in it.  What waits keeps the journal, so that has a limit
too: beyond it everything is saved.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from openxt_dbd.placement import Unit

SMALL_BYTES: Final = 64 * 1024
"""A VM's file has 5 to 20 KiB."""
RATE_BYTES: Final = 1536 * 1024
"""A second: half a per cent of a CPU, as a MiB takes 3.5 ms.  A hundred full dom-stores take 70 s."""
BURST_BYTES: Final = 3 * RATE_BYTES
"""What one save may write, whatever was not used before."""
MAX_JOURNAL_BYTES: Final = 16 * 1024 * 1024
"""A start after a kill replays so much in a second or two."""


class Pace:
    """How many bytes of large files may be written now."""

    def __init__(self) -> None:
        self._credit = BURST_BYTES

    def due(self, dirty: Iterable[Unit], sizes: Mapping[Unit, int], elapsed_s: float) -> list[Unit]:
        """Of the units, of which those come first that wait longest; `sizes` are those of their files.

        A file larger than what is left is written all the same, and the next ones wait for it.
        """
        self._credit = min(BURST_BYTES, self._credit + int(RATE_BYTES * elapsed_s))
        return [unit for unit in dirty if self._may_go(sizes.get(unit, 0))]

    def _may_go(self, size: int) -> bool:
        if size <= SMALL_BYTES:
            return True
        if self._credit <= 0:
            return False
        self._credit -= size
        return True
