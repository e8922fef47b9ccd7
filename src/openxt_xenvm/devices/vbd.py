# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk behind Linux's blkback.  Pure.

blkback opens the device of `physical-device`.  For dom0's own backend that is known from the start; in
another domain a script of that domain writes it.  Keys: xen/include/public/io/blkif.h; OpenXT xenops, 2015.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import ClassVar, TypeAlias

from openxt_core.ids import DOM0, Domid
from openxt_xenvm.config.model import Disk
from openxt_xenvm.devices.backing import Attachment
from openxt_xenvm.devices.base import PROTOCOL, Device, Guest, XenbusState
from openxt_xenvm.devices.numbers import device_number

STARTING = str(XenbusState.INITIALISING)
ATTACHED = "attached"
"""The backend's key that names what stands below the disk, for a monitor that finds no record.  Ours."""
Inquiry: TypeAlias = tuple[str, bytes]
"""`default`, or the number of a vital product data page, and what a SCSI disk of the host answers."""
INQUIRIES = "sm-data/scsi/0x12"
"""Where the frontend finds them in base64.  Source: OpenXT xenops, 2015."""
TYPES = {"file": "file", "phy": "phy", "aio": "file"}
"""What of a disk the backend's `type` says; all else is `tap`.  Source: OpenXT xenops, 2015."""


@dataclass(frozen=True)
class Vbd(Device):
    """`number` is that of the device that blkback opens; None when another domain finds it out."""

    kind: ClassVar[str] = "vbd"
    names_server: ClassVar[bool] = True

    virtpath: str = ""
    type: str = "phy"
    path: str = ""
    number: tuple[int, int] | None = None
    below: tuple[Attachment, ...] = ()
    writable: bool = False
    is_cdrom: bool = False
    inquiries: tuple[Inquiry, ...] = ()

    def frontend_keys(self, guest: Guest) -> dict[str, str]:
        return {
            "virtual-device": str(self.devid),
            "device-type": "cdrom" if self.is_cdrom else "disk",
            "protocol": PROTOCOL,
            "state": STARTING,
        }

    def backend_keys(self, guest: Guest) -> dict[str, str]:
        return {
            "online": "1",
            "removable": "0",
            "dev": self.virtpath,
            "type": TYPES.get(self.type, "tap"),
            "mode": "w" if self.writable else "r",
            "device-type": "cdrom" if self.is_cdrom else "disk",
            "params": self.path if self.type in TYPES else f"{self.type}:{self.path}",
            **self._opened(),
            **{f"{INQUIRIES}/{page}": base64.b64encode(data).decode() for page, data in self.inquiries},
            "state": STARTING,
        }

    def _opened(self) -> dict[str, str]:
        if self.number is None:
            return {}
        major, minor = self.number
        told = {ATTACHED: told_attachments(self.below)} if self.below else {}
        return {**told, "physical-device": f"{major:x}:{minor:x}"}


def vbd(
    disk: Disk,
    number: tuple[int, int] | None = None,
    below: Iterable[Attachment] = (),
    inquiries: Iterable[Inquiry] = (),
) -> Vbd:
    """The device of a disk; `number` is that of the uppermost device `below`, or the disk's own."""
    return Vbd(
        device_number(disk.virtpath),
        Domid(disk.backend_domid or DOM0),
        virtpath=disk.virtpath,
        type=disk.type,
        path=disk.path,
        number=number,
        below=tuple(below),
        writable=disk.writable,
        is_cdrom=disk.is_cdrom,
        inquiries=tuple(inquiries),
    )


def told_attachments(below: Iterable[Attachment]) -> str:
    return json.dumps([astuple(made)[1:] for made in below])


def attachments(devid: int, told: str) -> Iterator[Attachment]:
    """What `told_attachments` wrote into a node that only dom0 writes; nothing for any other text."""
    try:
        yield from [Attachment(devid, *made) for made in json.loads(told)]
    except (ValueError, TypeError):
        return
