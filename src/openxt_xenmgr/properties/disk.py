# SPDX-License-Identifier: GPL-2.0-or-later
"""The properties of a disk: keys below `config/disk/<id>` of its VM.  Rows and their small readers."""

from openxt_core.errors import NotSupported
from openxt_core.spec import Value
from openxt_xenmgr.host.facts import output_of
from openxt_xenmgr.properties.table import Live, Row, Stored, is_empty
from openxt_xenmgr.vm.devices import DiskEntry
from openxt_xenmgr.vm.model import DISK_DEVTYPES, DISK_MODES, DISK_TYPES, SNAPSHOTS
from openxt_xenmgr.vm.tree import parse_int

NO_SNAPSHOT = "none"


def _is_none(value: str) -> bool:
    return value == NO_SNAPSHOT


def _refuse_backend(_it: DiskEntry, _value: Value) -> None:
    raise NotSupported("disks are served by dom0 alone: a disk's backend cannot be set")


async def _key_set(it: DiskEntry) -> bool:
    answer = (await _vhd_util(it, "key", "-p", "-n")).strip()
    return answer not in ("", "none")


async def _virtual_size_mb(it: DiskEntry) -> int:
    return parse_int(await _vhd_util(it, "query", "-v", "-n")) or 0


async def _used_bytes(it: DiskEntry) -> int:
    return parse_int(await _vhd_util(it, "query", "-s", "-n")) or 0


async def _vhd_util(it: DiskEntry, *command: str) -> str:
    """Empty for another kind of image, and where there is no vhd-util."""
    disk = it.disk
    return await output_of("vhd-util", *command, disk.path) if disk.type == "vhd" and disk.path else ""


ROWS: tuple[Row[DiskEntry], ...] = (
    #      name                 key          default
    Stored("phys-path",         "path",      ""),
    Stored("phys-type",         "type",      "vhd",   words=DISK_TYPES),
    Stored("virt-path",         "device",    ""),
    Stored("mode",              "mode",      "w",     words=DISK_MODES),
    Stored("devtype",           "devtype",   "disk",  words=DISK_DEVTYPES),
    Stored("snapshot",          "snapshot",  NO_SNAPSHOT, words=(NO_SNAPSHOT, *SNAPSHOTS), unset=_is_none),
    Stored("shared",            "shared",    False),
    Stored("managed-disktype",  "managed-disktype", "",
           words=("", "system", "application", "user"), unset=is_empty),
    Stored("enabled",           "enable",    True),
    Live("backend-uuid",        "s", lambda _: "", _refuse_backend),
    Live("backend-name",        "s", lambda _: "", _refuse_backend),
    Live("encryption-key-set",  "b", _key_set),
    Live("virtual-size-mb",     "i", _virtual_size_mb),
    Live("utilization-bytes",   "x", _used_bytes),
)  # fmt: skip
