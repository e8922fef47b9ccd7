# SPDX-License-Identifier: GPL-2.0-or-later
"""The network daemon, in our words: bridges, types and backends of networks.  It may be absent.

Absent means the default: no bridge is known, and the default backend serves.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from openxt_core.errors import NetworkDaemonTimeout, OpenxtError, RemoteError
from openxt_core.ids import Domid, Uuid
from openxt_core.signature import Variant
from openxt_xenmgr.links.presence import Peers
from openxt_xenmgr.vm.xenvm_config import Network

log = logging.getLogger(__name__)

NAME = "com.citrix.xenclient.networkdaemon"
CONFIG = "com.citrix.xenclient.network.config"
PROPERTIES = "org.freedesktop.DBus.Properties"
UP, DOWN = 1, 0
READY_POLL_S = 1.0
OBJECT_ATTEMPTS, OBJECT_PAUSE_S = 10, 0.25
NOT_THERE = frozenset(
    f"org.freedesktop.DBus.Error.{word}" for word in ("UnknownObject", "UnknownMethod", "UnknownInterface")
)


@dataclass(frozen=True, slots=True)
class NetworkDaemon:
    peers: Peers
    ready_s: float  # how long it may look at its networks, once it is there

    async def backend_of(self, network: str) -> str:
        """Uuid of the VM that serves `network`; empty when nobody says."""
        answer = await self.peers.ask(NAME, NAME, "get_network_backend", "s", network)
        return str(answer[0]) if answer else ""

    async def describe(self, networks: Sequence[str]) -> dict[str, Network]:
        """Those of `networks` that the daemon knows; none when it is absent.

        Raises NetworkDaemonTimeout (240) when it is there, but does not come up.
        """
        if not networks or not self.peers.has(NAME):
            return {}
        await self._until_initialised()
        answer = await self.peers.ask(NAME, NAME, "list")
        listed = {str(row.get("object", "")) for row in answer[0]} if answer else set()
        found = {network: await self._describe(network) for network in networks if network in listed}
        return {network: known for network, known in found.items() if known is not None}

    async def _until_initialised(self) -> None:
        """It is on the bus before it has looked at its networks."""
        try:
            async with asyncio.timeout(self.ready_s):
                while self.peers.has(NAME):
                    answer = await self.peers.ask(NAME, NAME, "is_initialized")
                    if answer and answer[0]:
                        return
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError:
            raise NetworkDaemonTimeout(f"the network daemon is not ready after {self.ready_s:g} s") from None

    async def _describe(self, network: str) -> Network | None:
        """Its object may come a moment after it is listed."""
        for _ in range(OBJECT_ATTEMPTS):
            try:
                bridge = await self._property(network, "bridge")
                return Network(bridge, await self._property(network, "type"))
            except RemoteError as error:
                if error.name not in NOT_THERE:
                    log.warning("network %s: %s", network, error)
                    return None
            except OpenxtError as error:
                log.warning("network %s: %s", network, error)
                return None
            await asyncio.sleep(OBJECT_PAUSE_S)
        log.warning("network %s is listed, but has no object", network)
        return None

    async def _property(self, network: str, name: str) -> str:
        reply = await self.peers.bus.call(
            NAME, network, PROPERTIES, "Get", "ss", (CONFIG, name), timeout_s=self.peers.answer_s
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
