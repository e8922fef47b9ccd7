# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk behind Linux's blkback.  Pure.

blkback opens the device of `physical-device`, which a script writes elsewhere; here it is known from the
start.  Keys: xen/include/public/io/blkif.h; OpenXT xenops, 2015.
"""

from dataclasses import dataclass
from typing import ClassVar

from openxt_xenvm.config.model import Disk
from openxt_xenvm.devices.base import PROTOCOL, Device, Guest, XenbusState
from openxt_xenvm.devices.numbers import device_number

STARTING = str(XenbusState.INITIALISING)


@dataclass(frozen=True)
class Vbd(Device):
    """`device` is what blkback opens: the disk's own, or the loop device in front of its file."""

    kind: ClassVar[str] = "vbd"

    virtpath: str = ""
    type: str = "phy"
    path: str = ""
    device: str = ""
    number: tuple[int, int] = (0, 0)
    writable: bool = False
    is_cdrom: bool = False

    def frontend_keys(self, guest: Guest) -> dict[str, str]:
        return {
            "virtual-device": str(self.devid),
            "device-type": "cdrom" if self.is_cdrom else "disk",
            "protocol": PROTOCOL,
            "state": STARTING,
        }

    def backend_keys(self, guest: Guest) -> dict[str, str]:
        major, minor = self.number
        loop = {"loop-device": self.device} if self.type == "file" else {}
        return {
            "online": "1",
            "removable": "0",
            "dev": self.virtpath,
            "type": self.type,
            "mode": "w" if self.writable else "r",
            "device-type": "cdrom" if self.is_cdrom else "disk",
            "params": self.path,
            **loop,
            "physical-device": f"{major:x}:{minor:x}",
            "state": STARTING,
        }


def vbd(disk: Disk, device: str, number: tuple[int, int]) -> Vbd:
    """The device of a disk that lies open at `device`, whose major and minor are `number`."""
    return Vbd(
        device_number(disk.virtpath),
        virtpath=disk.virtpath,
        type=disk.type,
        path=disk.path,
        device=device,
        number=number,
        writable=disk.writable,
        is_cdrom=disk.is_cdrom,
    )
