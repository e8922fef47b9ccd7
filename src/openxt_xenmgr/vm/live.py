# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes that a running VM notices at once: another disc, another network.

Each is made before it is stored: what the VM's monitor refuses is not written down.  A VM at rest is left
alone.
"""

from collections.abc import Sequence
from pathlib import Path

from openxt_xenmgr.host.images import is_there
from openxt_xenmgr.links.xenvm import XenvmClient
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.model import Disk
from openxt_xenmgr.vm.states import AT_REST
from openxt_xenmgr.world import World


async def change_disc(world: World, vm: Vm, drives: Sequence[Disk], path: str) -> None:
    """In every drive; a disc that is not there empties them, as at a start.  Raises what xenvm refuses."""
    if vm.state in AT_REST:
        return
    monitor, disc = XenvmClient(world.bus, vm.uuid), path if is_there(Path(path)) else ""
    for drive in drives:
        await monitor.insert_disc(drive.device, disc)


async def switch_network(world: World, vm: Vm, nic: int, network: str) -> None:
    """The guest's card goes off line, and comes back on the other network.  Raises what xenvm refuses."""
    if vm.state in AT_REST or vm.domid is None:
        return
    await world.nodes.disconnect_nic(vm.domid, nic)
    await XenvmClient(world.bus, vm.uuid).switch_network(nic, network)
    await world.network.move(f"vif{vm.domid}.{nic}", network)
