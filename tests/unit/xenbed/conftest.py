# SPDX-License-Identifier: GPL-2.0-or-later
"""The bed lies in scripts/, beside what is installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts"))
