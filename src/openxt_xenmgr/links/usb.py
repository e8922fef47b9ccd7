# SPDX-License-Identifier: GPL-2.0-or-later
"""The USB daemon, in our words: which VMs run.  It may be absent."""

from dataclasses import dataclass

from openxt_core.ids import Domid
from openxt_xenmgr.links.presence import Peers

NAME = "com.citrix.xenclient.usbdaemon"


@dataclass(frozen=True, slots=True)
class UsbDaemon:
    peers: Peers

    async def vm_started(self, domid: Domid) -> None:
        await self.peers.ask(NAME, NAME, "new_vm", "i", domid)

    async def vm_stopped(self, domid: Domid) -> None:
        await self.peers.ask(NAME, NAME, "vm_stopped", "i", domid)
