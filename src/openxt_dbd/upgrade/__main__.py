# SPDX-License-Identifier: GPL-2.0-or-later
"""upgrade-db: run before dbd starts, on every boot.

Upgrades the database, and does what a new build or a request of an earlier program asks for.  Exit status 1
if dbd must not start: it runs already, the database's folder cannot be used, or this is no OpenXT host.
An upgrade that fails leaves the last version that was complete, says why, and exits with 0: the original
too preferred a host that starts.
"""

import logging
import os
import sys

from openxt_core.errors import OpenxtError
from openxt_core.places import Places
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.upgrade.run import forget_checksums, upgrade

log = logging.getLogger(__name__)

DEFAULT_DATABASE = "/usr/share/xenclient/db.default"
REHASH_FLAG = "rehash-vms"
SUSPEND_IMAGE = "/storage/uivm/uivm-suspend-image"
BUILD_NOTE = "xenclient.conf"


HELP = """\
Usage: upgrade-db

Run before dbd starts, on every boot: makes the database one of this version, a
copy of what it was in /config/backups, and what a new build asks for.  Takes no
options.  Exit status: 1 if dbd must not start, else 0."""


def main() -> int:
    if sys.argv[1:]:
        print(HELP)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    places = Places.of(os.environ)
    disk = Disk(places.config)
    try:
        disk.lock()
        Files(disk).seed(places.at(DEFAULT_DATABASE))
    except OSError as error:
        log.error("nothing is upgraded: %s", error)
        return 1
    try:
        upgrade(disk)
        follow_build(places, disk)
        if disk.is_file(REHASH_FLAG):
            forget_checksums(disk)
            disk.remove(REHASH_FLAG)
    except FileNotFoundError as error:
        log.error("%s is missing: this is no OpenXT host", error.filename)
        return 1
    except (OpenxtError, OSError) as error:
        log.error("the upgrade stopped: %s", error)
    return 0


def follow_build(places: Places, disk: Disk) -> None:
    """A new build cannot go on with the suspended user interface of the old one.  Raises OSError."""
    now = places.xenclient_conf.read_bytes()
    noted = disk.read(BUILD_NOTE) if disk.is_file(BUILD_NOTE) else b""
    if build_of(now) != build_of(noted) or not noted:
        places.at(SUSPEND_IMAGE).unlink(missing_ok=True)
        Files(disk).put(BUILD_NOTE, now)


def build_of(conf: bytes) -> bytes:
    """The value of `build`; empty if there is none."""
    pairs = (line.partition(b"=") for line in conf.splitlines())
    return next((value.strip() for name, _, value in pairs if name.strip() == b"build"), b"")


if __name__ == "__main__":
    sys.exit(main())
