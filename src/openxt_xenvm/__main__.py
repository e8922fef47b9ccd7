# SPDX-License-Identifier: GPL-2.0-or-later
"""xenvm: monitor one virtual machine."""

import sys

from openxt_xenvm import launch
from openxt_xenvm.options import read_options


def main() -> int:
    options = read_options()
    return launch.as_daemon(options) if options.daemonize else launch.in_foreground(options)


if __name__ == "__main__":
    sys.exit(main())
