# SPDX-License-Identifier: GPL-2.0-or-later
"""Users' encrypted folders, which are open while they are logged in: closed before the host sleeps.

A folder that stays open would leave its keys in the memory of a sleeping host, so it calls the sleep off.
**Source:** OpenXT xenmgr, 2015: folders, program.
"""

import logging
import re

from openxt_core.places import Places
from openxt_xenmgr.host import programs
from openxt_xenmgr.host.facts import mounts

log = logging.getLogger(__name__)

PROGRAM = "sec-umount"
TIMEOUT_S = 30.0
_FOLDER = re.compile(r"/config/sec/s-([0-9A-Za-z]{1,128})", re.ASCII)


def open_sessions(mount_table: str) -> list[str]:
    """The users, by the hashes of their names, whose folder is a mount point."""
    points = [words[1] for words in map(str.split, mount_table.splitlines()) if len(words) > 1]
    return list(dict.fromkeys(found[1] for found in map(_FOLDER.fullmatch, points) if found))


async def end_sessions(places: Places) -> None:
    """Close the folder of every user.  Raises IoError (223), Unavailable, NotSupported."""
    for user in open_sessions(mounts(places)):
        await programs.run(programs.needed(PROGRAM, "OpenXT's scripts"), user, timeout_s=TIMEOUT_S)
        log.info("ended the session of user %s", user)
