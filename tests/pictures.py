# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the browser tests leave pictures of each step."""

import os
from pathlib import Path

PICTURES = Path(os.environ.get("OPENXT_SCREENSHOTS") or Path(__file__).parents[1] / "build" / "screenshots")
