# SPDX-License-Identifier: GPL-2.0-or-later
"""The USB daemon, in our words: which VMs run.  It may be absent."""

from dataclasses import dataclass

from openxt_core.ids import Domid
from openxt_xenmgr.links.presence import NamedCaller, ask_if_there

NAME = "com.citrix.xenclient.usbdaemon"


@dataclass(frozen=True, slots=True)
class UsbDaemon:
    bus: NamedCaller

    async def vm_started(self, domid: Domid) -> None:
        await ask_if_there(self.bus, NAME, NAME, "new_vm", "i", domid)

    async def vm_stopped(self, domid: Domid) -> None:
        await ask_if_there(self.bus, NAME, NAME, "vm_stopped", "i", domid)
