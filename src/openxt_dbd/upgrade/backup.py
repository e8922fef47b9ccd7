# SPDX-License-Identifier: GPL-2.0-or-later
"""A copy of all of `/config` in `/config/backups/<version>`, before anything is changed.

May be cut short and made again: the database leaves a version only when its copy is whole.
"""

from openxt_dbd.disk import Disk
from openxt_dbd.files import Files

BACKUPS = "backups"


def back_up(disk: Disk, version: int) -> str:
    """The folder of the copy, which is durable.  Raises OSError."""
    target = f"{BACKUPS}/{version}"
    _copy(disk, "", target)
    disk.sync_folder(BACKUPS)
    disk.sync_folder("")
    return target


def _copy(disk: Disk, source: str, target: str) -> None:
    disk.make_folder(target)
    for name, is_folder in disk.entries(source):
        inner = f"{source}/{name}" if source else name
        if inner == BACKUPS:
            continue
        if is_folder:
            _copy(disk, inner, f"{target}/{name}")
        else:
            Files(disk).put(f"{target}/{name}", disk.read(inner))
    disk.sync_folder(target)
