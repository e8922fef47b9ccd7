# SPDX-License-Identifier: GPL-2.0-or-later
"""In which order a VM gets its drives: the first disk is the one that it boots from.  Pure.

Drives come by InstanceID.  Those of one controller come together, at the controller's place, by their address
there: exporters number them as they please.  The kind of bus (IDE, SCSI, SATA) makes no difference here.
"""

from collections.abc import Iterable

from openxt_ovf.model import Item, Resource
from openxt_ovf.read_hardware import instance_order

DRIVES = (Resource.CD, Resource.DVD, Resource.DISK)


def drive_items(items: Iterable[Item]) -> list[Item]:
    """Disks and CD drives in their order.  A parent that is not there counts as none."""
    known = list(items)
    instances = {item.instance for item in known}
    drives = [item for item in known if item.resource in DRIVES]

    def order(item: Item) -> tuple[tuple[int, int, str], int, tuple[int, int, str]]:
        own = instance_order(item.instance)
        if item.parent not in instances or item.address_on_parent is None:
            return own, 0, own
        return instance_order(item.parent), 1 + item.address_on_parent, own

    return sorted(drives, key=order)
