# SPDX-License-Identifier: GPL-2.0-or-later
"""An apptool that dies at once, as by kill -9, before its Nth call to a daemon.

dying_apptool.py N APPTOOL-ARGUMENTS…   Between two calls it changes files alone, which it writes down first.
"""

import os
import signal
import sys
from typing import Any

from openxt_bus import blocking
from openxt_ovf import __main__ as apptool

left = int(sys.argv.pop(1))


class Mortal(blocking.BlockingBus):
    def call(self, *args: Any, **more: Any) -> Any:
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().call(*args, **more)


if __name__ == "__main__":
    apptool.BlockingBus = Mortal
    sys.exit(apptool.main())
