# SPDX-License-Identifier: GPL-2.0-or-later
"""dbd: the configuration database daemon.

Reads the database, owns com.citrix.xenclient.db, saves what changes, ends with SIGTERM or SIGINT after a
last save.  SIGHUP saves and reads again.
"""

import argparse
import asyncio
import gc
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from openxt_bus.daemon import Lifetime, run
from openxt_core.ids import DBD_NAME
from openxt_core.places import Places
from openxt_dbd.background import Background, leave_foreground
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.flusher import Flusher
from openxt_dbd.guests import GuestUuids
from openxt_dbd.history import History
from openxt_dbd.journal import Journal
from openxt_dbd.store import Database

DEFAULT_DATABASE = "/usr/share/xenclient/db.default"


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    background = leave_foreground() if options.daemonize else None
    return run("dbd", lambda lifetime: serve(lifetime, options, background))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("dbd", description="The configuration database daemon.")
    pid_file = Places.of(os.environ).run / "dbd.pid"
    made.add_argument("--pidfile", type=Path, default=pid_file, help="default: %(default)s")
    made.add_argument("--debug", action="store_true", help="log every change (never its value)")
    made.add_argument("--foreground", action="store_true", help="stay in the foreground (the default)")
    made.add_argument("--daemonize", action="store_true", help="return once calls are answered")
    return made


async def serve(lifetime: Lifetime, options: argparse.Namespace, background: Background | None) -> None:
    if options.debug:
        logging.getLogger().setLevel(logging.DEBUG)
    database, flusher = _open(Places.of(os.environ))
    guests = GuestUuids()
    lifetime.on_hangup(flusher.reread)
    bus = await lifetime.connect()
    from openxt_dbd.faces import serve_all

    await serve_all(bus, database, flusher, guests)
    await lifetime.own(bus, DBD_NAME)
    options.pidfile.parent.mkdir(parents=True, exist_ok=True)
    options.pidfile.write_text(f"{os.getpid()}\n")
    lifetime.ready()
    if background is not None:
        background.ready()
    try:
        await _until_stopped(lifetime, flusher)
    finally:
        options.pidfile.unlink(missing_ok=True)
        guests.close()
        database.close()


def _open(places: Places) -> tuple[Database, Flusher]:
    """The database as the files have it.  Raises Unavailable when another dbd has them open."""
    disk = Disk(places.config)
    disk.lock()
    files = Files(disk)
    files.seed(places.at(DEFAULT_DATABASE))
    database = Database(files, Journal(disk), History(disk))
    flusher = Flusher(database)
    database.load()
    gc.collect()
    gc.freeze()  # what was loaded mostly stays: the collector need not walk it again and again
    return database, flusher


async def _until_stopped(lifetime: Lifetime, flusher: Flusher) -> None:
    """Raises Unavailable for a lost bus and for changes that could not be saved."""
    saving = asyncio.create_task(flusher.run())
    stopped = asyncio.create_task(lifetime.until_stopped())
    await asyncio.wait({saving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    flusher.stop()
    await saving
    await stopped


if __name__ == "__main__":
    sys.exit(main())
