# SPDX-License-Identifier: GPL-2.0-or-later
"""Face of a VM: PCI devices that changed since its last start, and their confirmation."""

from openxt_api.xenmgr_vm_devices import XenmgrVmDevices
from openxt_core.spec import Call
from openxt_xenmgr.objects.vm import found_vm
from openxt_xenmgr.objects.work import Work
from openxt_xenmgr.vm import pci_guard
from openxt_xenmgr.vm.policy import need_edit


class DevicesObject(XenmgrVmDevices):
    """com.citrix.xenclient.xenmgr.vm.devices."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._world = work.world
        self._vm = found_vm(work, call)

    async def changed_devices(self) -> list[dict[str, str]]:
        now = await pci_guard.standing(self._world, self._vm, await self._world.store.config(self._vm))
        return [{**match.device.record(), "rule": match.rule} for match in now.drifted]

    async def confirm_devices(self, addresses: list[str]) -> None:
        need_edit(self._vm.uuid, await self._world.store.tree(self._vm))
        await pci_guard.confirm(self._world, self._vm, addresses)
