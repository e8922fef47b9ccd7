# SPDX-License-Identifier: GPL-2.0-or-later
"""The way from an older database to today's: which steps there are, and how one is taken.

A step is one change of the tree, its new version included: it is in the journal as a whole or not at all,
and the files follow.  Whoever is killed in between begins again where the version says.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final

from openxt_core.errors import Refused, Unavailable
from openxt_dbd import tree
from openxt_dbd.disk import Disk
from openxt_dbd.draft import Draft
from openxt_dbd.files import Files
from openxt_dbd.journal import Journal
from openxt_dbd.store import Database
from openxt_dbd.tree import Change, Node
from openxt_dbd.upgrade import to_12, to_14, to_15, to_16, to_20, to_22, to_24, to_25, to_26, to_27
from openxt_dbd.upgrade.backup import back_up
from openxt_dbd.upgrade.vms import dropping, records, vms

log = logging.getLogger(__name__)

LATEST: Final = 27
VERSION: Final = ("db-version",)

STEPS: Final[dict[int, Callable[[Node], Iterable[Change]]]] = {
    12: to_12.changes,
    14: to_14.changes,
    15: to_15.changes,
    16: to_16.changes,
    20: to_20.changes,
    24: to_24.changes,
    25: to_25.changes,
    26: to_26.changes,
    27: to_27.changes,
}
"""Version → what makes it of the one before.  The others differ in what nobody reads any more."""

FILE_STEPS: Final[dict[int, Callable[[Disk], None]]] = {22: to_22.move_files}
"""What a version wants to be moved before; done twice, it does no more than once."""


def opened(disk: Disk) -> Database:
    database = Database(Files(disk), Journal(disk))
    database.load()
    return database


def upgrade(disk: Disk) -> None:
    """Bring the database to the latest version.  Raises Refused, Unavailable, OSError."""
    database = opened(disk)
    _save(database)
    version = version_of(database)
    if version < LATEST:
        log.info("version %d is kept in %s", version, disk.at(back_up(disk, version)))
    for number in range(version + 1, LATEST + 1):
        if number in FILE_STEPS:
            FILE_STEPS[number](disk)
        changes = STEPS[number](database.freeze()) if number in STEPS else ()
        _commit(database, [*changes, Change(VERSION, str(number))])
        log.info("the database has version %d", number)
    database.close()


def version_of(database: Database) -> int:
    """Raises Refused if the database does not say."""
    text = database.read(VERSION)
    if not (text.isascii() and text.isdecimal()):
        raise Refused(f"/db-version is {text[:20]!r}, not a number: nothing is upgraded")
    return int(text)


def forget_checksums(disk: Disk) -> None:
    """Drop what was noted of the VMs' disks.  Raises Unavailable, OSError."""
    database = opened(disk)
    root = database.freeze()
    disks = [place for vm in vms(root) for place in records(root, vm, "config/disk")]
    _commit(database, [dropping(d, "sha1sum") for d in disks if tree.exists(root, (*d, "sha1sum"))])
    database.close()


def _commit(database: Database, changes: list[Change]) -> None:
    draft = Draft(database.freeze())
    draft.changes = changes
    database.commit(draft, writer="upgrade-db")
    _save(database)


def _save(database: Database) -> None:
    if database.dirty:
        save = database.start_save().run()
        database.end_save(save)
        for unit, error in save.failed.items():
            raise Unavailable(f"{unit.file} cannot be written: {error}")
