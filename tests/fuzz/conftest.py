# SPDX-License-Identifier: GPL-2.0-or-later
"""The naive reading of the rules is shared with the unit tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "unit" / "rpcproxy"))
