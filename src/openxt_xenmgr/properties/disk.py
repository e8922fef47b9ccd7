# SPDX-License-Identifier: GPL-2.0-or-later
"""The properties of a disk: keys below `config/disk/<id>` of its VM.  Rows and their small readers."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from openxt_core.errors import NotSupported
from openxt_core.spec import Value
from openxt_xenmgr.host import images
from openxt_xenmgr.properties import forms
from openxt_xenmgr.properties.table import Live, Row, Stored, is_empty
from openxt_xenmgr.vm.devices import DiskEntry
from openxt_xenmgr.vm.model import DISK_DEVTYPES, DISK_MODES, DISK_TYPES, SNAPSHOTS

NO_SNAPSHOT = "none"

T = TypeVar("T")


def _is_none(value: str) -> bool:
    return value == NO_SNAPSHOT


def _refuse_backend(_it: DiskEntry, _value: Value) -> None:
    raise NotSupported("disks are served by dom0 alone: a disk's backend cannot be set")


def _of_image(figure: Callable[[Path], Awaitable[T]], nothing: T) -> Callable[[DiskEntry], Awaitable[T]]:
    """A figure of a vhd image; `nothing` for another kind of disk."""

    async def read(it: DiskEntry) -> T:
        disk = it.disk
        return await figure(Path(disk.path)) if disk.type == "vhd" and disk.path else nothing

    return read


ROWS: tuple[Row[DiskEntry], ...] = (
    #      name                 key          default
    Stored("phys-path",         "path",      "",      form=forms.DISK_PATH),
    Stored("phys-type",         "type",      "vhd",   words=DISK_TYPES),
    Stored("virt-path",         "device",    "",      form=forms.DISK_DEVICE),
    Stored("mode",              "mode",      "w",     words=DISK_MODES),
    Stored("devtype",           "devtype",   "disk",  words=DISK_DEVTYPES),
    Stored("snapshot",          "snapshot",  NO_SNAPSHOT, words=(NO_SNAPSHOT, *SNAPSHOTS), unset=_is_none),
    Stored("shared",            "shared",    False),
    Stored("managed-disktype",  "managed-disktype", "",
           words=("", "system", "application", "user"), unset=is_empty),
    Stored("enabled",           "enable",    True),
    Live("backend-uuid",        "s", lambda _: "", _refuse_backend),
    Live("backend-name",        "s", lambda _: "", _refuse_backend),
    Live("encryption-key-set",  "b", _of_image(images.has_key, False)),
    Live("virtual-size-mb",     "i", _of_image(images.virtual_mb, 0)),
    Live("utilization-bytes",   "x", _of_image(images.used_bytes, 0)),
)  # fmt: skip
