# SPDX-License-Identifier: GPL-2.0-or-later
"""The disc in a CD drive that QEMU shows to a full machine.  QEMU refuses while the guest locks the tray."""

from dataclasses import dataclass

from openxt_core.ids import Domid
from openxt_xen.hypervisor import Kind
from openxt_xenvm.config.model import Disk, DomainConfig
from openxt_xenvm.dm import qemu
from openxt_xenvm.dm.monitor_socket import open_monitor
from openxt_xenvm.plan.device_model import socket_of
from openxt_xenvm.plan.steps import Step
from openxt_xenvm.site import Site


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


def plan_emulated(config: DomainConfig, old: Disk, new: Disk, domid: Domid | None) -> tuple[Step, ...]:
    """Nothing for a drive that QEMU does not show."""
    shows = domid is not None and config.kind is Kind.HVM and bool(config.qemu_dm_path)
    return (ChangeEmulatedDisc(old, new),) if shows and qemu.is_emulated(old) else ()
