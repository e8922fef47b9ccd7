# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a log that others write.  Its length decides nothing: a guest may have filled it for weeks."""

import os
from pathlib import Path


def last_bytes(path: Path, most: int) -> bytes:
    """Reads no more than that.  Blocks.  OSError."""
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - most))
        return file.read(most)
