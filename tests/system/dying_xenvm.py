# SPDX-License-Identifier: GPL-2.0-or-later
"""A monitor that dies at once, as by kill -9, at the Nth boundary after the file ARMED appears.

dying_xenvm.py N ARMED XENVM-ARGUMENTS…   Boundaries are what the monitor logs between two deeds
that change the world: each step of a plan, each change of its record, each request to the guest.
For N also the beginning of a boundary's text: it dies at the first one.
"""

import logging
import os
import signal
import sys
from pathlib import Path

from openxt_xenvm.__main__ import main

BOUNDARIES = ("openxt_xenvm.executor", "openxt_xenvm.plan.stop", "openxt_xenvm.vm", "openxt_xenvm.asking")


class Fate(logging.Handler):
    def __init__(self, when: str, armed: Path) -> None:
        super().__init__(logging.DEBUG)
        self._left, self._text = (int(when), "") if when.isdecimal() else (1, when)
        self._armed = armed

    def emit(self, record: logging.LogRecord) -> None:
        if not self._armed.exists() or not record.getMessage().startswith(self._text):
            return
        self._left -= 1
        if self._left == 0:
            sys.stderr.write(f"dies at: {record.getMessage()}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    fate = Fate(sys.argv[1], Path(sys.argv[2]))
    for name in BOUNDARIES:
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(fate)
    sys.argv[1:3] = []
    raise SystemExit(main())
