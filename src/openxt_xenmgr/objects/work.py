# SPDX-License-Identifier: GPL-2.0-or-later
"""What the faces hand over to.  No behaviour."""

import asyncio
from dataclasses import dataclass

from openxt_bus.identity import Identity
from openxt_xenmgr.host.power import HostPower
from openxt_xenmgr.objects.publish import Publisher
from openxt_xenmgr.vm.creation import Creator
from openxt_xenmgr.vm.deletion import Remover
from openxt_xenmgr.vm.diagnostics import Diagnostics
from openxt_xenmgr.vm.edits import Editor
from openxt_xenmgr.vm.firewall import Firewall
from openxt_xenmgr.vm.lifecycle import Lifecycle
from openxt_xenmgr.vm.sleeping import Sleeper
from openxt_xenmgr.world import World


@dataclass(frozen=True)
class Work:
    world: World
    creator: Creator
    remover: Remover
    editor: Editor
    life: Lifecycle
    sleeper: Sleeper
    power: HostPower
    identity: Identity
    publisher: Publisher
    diagnostics: Diagnostics
    firewall: Firewall
    scripts: "asyncio.Queue[str]"
