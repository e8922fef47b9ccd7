# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon works with, gathered once and handed to whoever needs it.  No behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass

from openxt_bus.connection import Bus
from openxt_core.places import Places
from openxt_xenmgr.announce import Announcer
from openxt_xenmgr.deadlines import Deadlines
from openxt_xenmgr.links.dbd import DbClient
from openxt_xenmgr.links.guest_bus import GuestBuses
from openxt_xenmgr.links.input import InputDaemon
from openxt_xenmgr.links.network import NetworkDaemon
from openxt_xenmgr.links.nodes import Nodes
from openxt_xenmgr.links.presence import Peers
from openxt_xenmgr.links.surfman import Surfman
from openxt_xenmgr.links.usb import UsbDaemon
from openxt_xenmgr.registry import Registry
from openxt_xenmgr.tasks import Background
from openxt_xenmgr.vm.graph import Graph
from openxt_xenmgr.vm.memory import HostMemory
from openxt_xenmgr.vm.store import VmStore
from openxt_xenmgr.vm.templates import Templates


@dataclass(frozen=True)
class World:
    places: Places
    environ: Mapping[str, str]
    deadlines: Deadlines
    bus: Bus
    db: DbClient
    nodes: Nodes
    announcer: Announcer
    store: VmStore
    graph: Graph
    registry: Registry
    templates: Templates
    memory: HostMemory
    background: Background
    peers: Peers
    input: InputDaemon
    network: NetworkDaemon
    surfman: Surfman
    usb: UsbDaemon
    guest_buses: GuestBuses
