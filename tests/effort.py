# SPDX-License-Identifier: GPL-2.0-or-later
"""How much a test of unlimited size tries: a little on every run, the promised number with `make proof`."""

import os


def effort(usual: int, full: int) -> int:
    """Return `full` under OPENXT_PROOF=1, else `usual`.  Mark such tests with `pytest.mark.proof`."""
    return full if os.environ.get("OPENXT_PROOF") == "1" else usual
