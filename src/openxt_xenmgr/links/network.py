# SPDX-License-Identifier: GPL-2.0-or-later
"""The network daemon, in our words: bridges, types and backends of networks.  It may be absent.

Absent means the default: no bridge is known, and the default backend serves.
"""

import logging
from dataclasses import dataclass

from openxt_core.errors import OpenxtError
from openxt_core.ids import Domid, Uuid
from openxt_core.signature import Variant
from openxt_xenmgr.links.presence import TIMEOUT_S, Peers
from openxt_xenmgr.vm.xenvm_config import Network

log = logging.getLogger(__name__)

NAME = "com.citrix.xenclient.networkdaemon"
CONFIG = "com.citrix.xenclient.network.config"
PROPERTIES = "org.freedesktop.DBus.Properties"
UP, DOWN = 1, 0


@dataclass(frozen=True, slots=True)
class NetworkDaemon:
    peers: Peers

    async def backend_of(self, network: str) -> str:
        """Uuid of the VM that serves `network`; empty when nobody says."""
        answer = await self.peers.ask(NAME, NAME, "get_network_backend", "s", network)
        return str(answer[0]) if answer else ""

    async def describe(self, network: str) -> Network | None:
        """None when the daemon does not know the network."""
        if not self.peers.has(NAME):
            return None
        try:
            bridge = await self._property(network, "bridge")
            return Network(bridge, await self._property(network, "type"))
        except OpenxtError as error:
            log.warning("network %s: %s", network, error)
            return None

    async def _property(self, network: str, name: str) -> str:
        reply = await self.peers.bus.call(
            NAME, network, PROPERTIES, "Get", "ss", (CONFIG, name), timeout_s=TIMEOUT_S
        )
        value = reply[0]
        return str(value.value if isinstance(value, Variant) else value)

    async def backend_status(self, uuid: Uuid, domid: Domid | None) -> None:
        """Tell that a network VM runs as `domid`, or no more."""
        up = UP if domid is not None else DOWN
        number = -1 if domid is None else domid
        await self.peers.ask(NAME, NAME, "ndvm_status", "siu", uuid, number, up)

    async def move(self, interface: str, network: str) -> None:
        """Put an interface on another network."""
        await self.peers.ask(NAME, NAME, "move_to_network", "ss", interface, network)
