# SPDX-License-Identifier: GPL-2.0-or-later
"""21 → 22: the host's ssh keys move from `/config/ssh` to `/config/etc/ssh`; the tree stays as it is."""

from openxt_dbd.disk import Disk

OLD, PARENT, NEW = "ssh", "etc", "etc/ssh"


def move_files(disk: Disk) -> None:
    """Nothing is done where it is done already, or where both folders exist.  Raises OSError."""
    if not _is_folder(disk, "", OLD):
        return
    disk.make_folder(PARENT)
    if not _is_folder(disk, PARENT, "ssh"):
        disk.rename(OLD, NEW)
        disk.sync_folder(PARENT)
        disk.sync_folder("")


def _is_folder(disk: Disk, parent: str, name: str) -> bool:
    return any(entry.is_folder for entry in disk.entries(parent) if entry.name == name)
