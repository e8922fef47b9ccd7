# SPDX-License-Identifier: GPL-2.0-or-later
"""A monitor that cannot make a note of a crash, for a reason that nobody foresaw.

noteless_xenvm.py XENVM-ARGUMENTS…
"""

from openxt_xenvm import crash
from openxt_xenvm.__main__ import main


def _look(*_: object) -> crash.Crash:
    raise MemoryError


if __name__ == "__main__":
    crash.look = _look
    raise SystemExit(main())
