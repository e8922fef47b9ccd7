# SPDX-License-Identifier: GPL-2.0-or-later
"""xenmgr: VM configuration on the bus, and everything that concerns more than one VM.

Arguments in, daemon out.  Runs in the foreground unless `--daemonize` is given.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from openxt_bus.daemon import Lifetime, run


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="xenmgr", description="Manage the VMs of this host over D-Bus.")
    made.add_argument("--no-daemonize", action="store_true", help="stay in the foreground (the default)")
    made.add_argument("--daemonize", action="store_true", help="go to the background")
    made.add_argument("--no-autostart", action="store_true", help="start no VM at the beginning")
    made.add_argument("--writepid", metavar="FILE", type=Path, help="write the process id there")
    made.add_argument("--debug", action="store_true", help="log the conversation too")
    return made


def main() -> int:
    options = parser().parse_args(sys.argv[1:])
    if options.daemonize and not options.no_daemonize and os.fork():
        os._exit(0)
    if options.daemonize:
        os.setsid()
    if options.writepid:
        options.writepid.write_text(f"{os.getpid()}\n")
    return run("xenmgr", lambda lifetime: _serve(lifetime, options))


async def _serve(lifetime: Lifetime, options: argparse.Namespace) -> None:
    from openxt_xenmgr import startup

    if options.debug:
        logging.getLogger().setLevel(logging.DEBUG)
    await startup.run(lifetime, autostart=not options.no_autostart)


if __name__ == "__main__":
    sys.exit(main())
