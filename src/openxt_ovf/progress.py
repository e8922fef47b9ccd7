# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell a person what is going on: lines on standard error, and on a terminal how far it is."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

_TERMINAL = re.compile(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]|[\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """Text from a package without what would steer a terminal, or turn its direction."""
    return _TERMINAL.sub("\N{REPLACEMENT CHARACTER}", text)


@dataclass
class Progress:
    """Percentages are shown on a terminal only, each in place of the last."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    _shown: int = -1

    def tell(self, text: str) -> None:
        print(harmless(text), file=self.stream, flush=True)

    def percent(self, figure: float) -> None:
        """How far the present work is, 0 to 100."""
        if not self.stream.isatty() or int(figure) == self._shown:
            return
        self._shown = int(figure)
        is_done = self._shown >= 100
        print(f"\r  {self._shown:3} %", end="\n" if is_done else "", file=self.stream, flush=True)
        if is_done:
            self._shown = -1

    def counted(self, chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
        """The same chunks; how far they are of `size` bytes is told."""
        done = 0
        for chunk in chunks:
            yield chunk
            done += len(chunk)
            self.percent(100 * done / size if size else 100)
