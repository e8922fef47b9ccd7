# SPDX-License-Identifier: GPL-2.0-or-later
"""The disc in a CD drive that QEMU shows to a full machine.  QEMU refuses while the guest locks the tray."""

from dataclasses import dataclass

from openxt_core.ids import Uuid
from openxt_xenvm.config.model import Disk
from openxt_xenvm.dm import qemu
from openxt_xenvm.dm.monitor_socket import open_monitor
from openxt_xenvm.plan.device_model import socket_of
from openxt_xenvm.plan.steps import Step
from openxt_xenvm.site import Host, Site


@dataclass(frozen=True)
class ChangeEmulatedDisc(Step):
    old: Disk
    new: Disk

    async def do(self, site: Site) -> None:
        await _insert(site, self.new)

    async def undo(self, site: Site) -> None:
        await _insert(site, self.old)


async def _insert(site: Site, disk: Disk) -> None:
    """Raises QmpError."""
    drive = {"device": qemu.drive_id(disk)}
    async with open_monitor(socket_of(site.host, site.uuid), site.host.settings.model_answer_s) as qmp:
        if disk.path:
            await qmp.do("blockdev-change-medium", {**drive, "filename": disk.path, "format": "raw"})
        else:
            await qmp.do("eject", drive)


async def plan_emulated(host: Host, uuid: Uuid, old: Disk, new: Disk) -> tuple[Step, ...]:
    """Nothing for a drive that no QEMU of dom0 shows: dm-agents and stub domains follow the drive's nodes."""
    shows = qemu.is_emulated(old) and await host.xen(socket_of(host, uuid).exists)
    return (ChangeEmulatedDisc(old, new),) if shows else ()
