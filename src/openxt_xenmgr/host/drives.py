# SPDX-License-Identifier: GPL-2.0-or-later
"""CD drives and disks of the host, as /proc and sysfs show them.

**Source:** /proc/scsi/scsi, /sys/class/block, /sys/bus/scsi; OpenXT xenmgr, 2015.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import BadRequest, NoSuchDevice, OpenxtError
from openxt_core.places import Places
from openxt_xenmgr.host import programs
from openxt_xenmgr.host.facts import read_text

_ID = re.compile(r"\d+:\d+:\d+:\d+\Z")
_HOST = re.compile(r"Host:\s*scsi(\d+)\s+Channel:\s*(\d+)\s+Id:\s*(\d+)\s+Lun:\s*(\d+)")
_MODEL = re.compile(r"Vendor:\s*(?P<vendor>.*?)\s+Model:\s*(?P<model>.*?)\s+Rev:")
CDROM_ID = "/lib/udev/cdrom_id"
HAS_DISC = "ID_CDROM_MEDIA=1"
EJECT_TIMEOUT_S = 30.0
DEVICES_ON_A_BUS = 256


@dataclass(frozen=True, slots=True)
class Drive:
    """A CD drive; `id` is host:channel:target:lun."""

    id: str
    name: str = ""

    @property
    def node(self) -> str:
        """Its name in XenStore."""
        return self.id.replace(":", "_")


def cd_drives(places: Places) -> tuple[Drive, ...]:
    return tuple(_drives(read_text(places.at("/proc/scsi/scsi"))))


def _drives(content: str) -> Iterator[Drive]:
    id = name = ""
    for line in content.splitlines():
        host, model = _HOST.search(line), _MODEL.search(line)
        if host:
            id, name = ":".join(str(int(part)) for part in host.groups()), ""
        elif model:
            name = f"{model['vendor']} {model['model']}"
        elif "CD-ROM" in line and id:
            yield Drive(id, name)
            id = ""


def drive(places: Places, id: str) -> Drive:
    """Raises BadRequest for what is no id, NoSuchDevice (203) for a drive that is not there."""
    if not _ID.match(id):
        raise BadRequest(f"not a CD drive: {id[:60]!r}; host:channel:target:lun is expected")
    found = next((one for one in cd_drives(places) if one.id == id), None)
    if found is None:
        raise NoSuchDevice(f"there is no CD drive {id}")
    return found


def block_device(places: Places, drive: Drive) -> str:
    """Name in /dev; empty when the kernel shows none."""
    names = _names(places.at("/sys/class/block"))
    top = places.at("/sys/class/block")
    return next((name for name in names if (top / name / "device/scsi_device" / drive.id).exists()), "")


def usb_id(places: Places, drive: Drive) -> str:
    """bus × 256 + device in decimal; empty for a drive that is not on USB."""
    at = places.at("/sys/bus/scsi/devices") / drive.id
    if not at.exists():
        return ""
    for folder in (at.resolve(), *at.resolve().parents):
        bus, device = (read_text(folder / name).strip() for name in ("busnum", "devnum"))
        if bus.isdigit() and device.isdigit():
            return str(int(bus) * DEVICES_ON_A_BUS + int(device))
    return ""


async def has_disc(places: Places, drive: Drive) -> bool:
    """What udev's own program says; False on a host without it."""
    program, name = places.at(CDROM_ID), block_device(places, drive)
    if not name or not program.exists():
        return False
    try:
        return HAS_DISC in (await programs.run(str(program), f"/dev/{name}")).splitlines()
    except OpenxtError:
        return False


async def eject(places: Places, drive: Drive) -> None:
    name = block_device(places, drive)
    if not name:
        raise NoSuchDevice(f"CD drive {drive.id} has no block device")
    program = programs.needed("eject", "Debian's eject")
    await programs.run(program, f"/dev/{name}", timeout_s=EJECT_TIMEOUT_S)


def disks(places: Places) -> list[dict[str, str]]:
    """udi and block-device of whole disks with hardware behind them."""
    top = places.at("/sys/block")
    found = [name for name in _names(top) if (top / name / "device").exists()]
    return [{"udi": f"/sys/block/{name}", "block-device": f"/dev/{name}"} for name in found]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
