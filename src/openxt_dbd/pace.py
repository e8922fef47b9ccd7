# SPDX-License-Identifier: GPL-2.0-or-later
"""Which unsaved parts a save takes: as many files, and large ones as many bytes, as are good for now.  Pure.

The journal makes changes durable, so a file that follows later costs nothing but the time to replay, while a
file takes half a millisecond to write, and a MiB 3.5.  What waits keeps the journal, so that has a limit too:
beyond it everything is saved.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from openxt_dbd.placement import Unit

SMALL_BYTES: Final = 64 * 1024
"""A VM's file has 5 to 20 KiB."""
FILES: Final = 24
"""Small ones a second: one per cent of a CPU."""
LARGE_BYTES: Final = 1536 * 1024
"""A second: half a per cent.  A hundred full dom-stores take 70 s."""
BURST_S: Final = 3.0
"""What was not used before is kept for so long."""
MAX_JOURNAL_BYTES: Final = 16 * 1024 * 1024
"""A start after a kill replays so much in a second or two."""


class Share:
    """So much may be used a second."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._left = self._most = rate * BURST_S

    def grow(self, elapsed_s: float) -> None:
        self._left = min(self._most, self._left + self._rate * elapsed_s)

    def use(self, amount: int) -> bool:
        """False when nothing is left.  More than is left may be used, and is then missing later."""
        if self._left <= 0:
            return False
        self._left -= amount
        return True


class Pace:
    """How much may be written now.  Small files and large ones do not hold up each other."""

    def __init__(self) -> None:
        self._files, self._bytes = Share(FILES), Share(LARGE_BYTES)

    def due(self, dirty: Iterable[Unit], sizes: Mapping[Unit, int], elapsed_s: float) -> list[Unit]:
        """Of the units, of which those come first that wait longest; `sizes` are those of their files."""
        self._files.grow(elapsed_s)
        self._bytes.grow(elapsed_s)
        return [unit for unit in dirty if self._may_go(sizes.get(unit, 0))]

    def _may_go(self, size: int) -> bool:
        return self._files.use(1) if size <= SMALL_BYTES else self._bytes.use(size)
