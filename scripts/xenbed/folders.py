# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the bed finds its sources and leaves its files.  Nothing else of the host is written to."""

from __future__ import annotations

import os
from pathlib import Path

BED = Path(__file__).resolve().parent
REPOSITORY = BED.parent.parent
RUNS = REPOSITORY / "build" / "xen"


def cache_folder() -> Path:
    """Built layers, shared by all checkouts: OPENXT_XENBED_CACHE or the user's cache folder."""
    named = os.environ.get("OPENXT_XENBED_CACHE")
    if named:
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openxt-xenbed"
