# SPDX-License-Identifier: GPL-2.0-or-later
"""What all stored VMs say about which of them needs which: read once, and again when one of them has changed.

Kept is only that, not whole configurations: a host may have a thousand VMs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openxt_core.ids import Uuid
from openxt_xenmgr.links import network
from openxt_xenmgr.links.dbd import decode
from openxt_xenmgr.links.leases import Lease, Leases
from openxt_xenmgr.links.presence import Peers
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.tree import Tree, node, with_leaf

NEEDED_KEY = "dependencies"  # a list of uuids: what a VM needs besides its network backends
KEPT_KEYS = (
    "name",
    "provides-network-backend",
    "provides-default-network-backend",
    NEEDED_KEY,
    "config/nic",
)


@dataclass(frozen=True)
class Snapshot:
    """All VMs at one moment, each with `KEPT_KEYS` alone."""

    vms: Tree
    lease: Lease
    dependencies: dict[Uuid, list[Uuid]] = field(default_factory=dict)  # those that were worked out already


class Graph:
    def __init__(self, leases: Leases, peers: Peers) -> None:
        self._leases = leases
        self._peers = peers
        self._last: Snapshot | None = None

    async def snapshot(self) -> Snapshot:
        """All VMs as they are now."""
        last = self._held()
        if last is not None:
            return last
        text, lease = await self._leases.read("/vm")
        self._last = Snapshot(_kept(decode(text)), lease)
        return self._last

    def _held(self) -> Snapshot | None:
        last = self._last
        return last if last is not None and last.lease.holds else None

    def known_dependencies(self, config: VmConfig) -> list[Uuid] | None:
        """What a VM needs, if it is known without asking."""
        if needs_nothing(config):
            return []
        held = self._held()
        return None if held is None or self._may_change() else held.dependencies.get(config.uuid)

    def remember(self, at: Snapshot, uuid: Uuid, needed: list[Uuid]) -> None:
        """What was worked out of a snapshot."""
        if not self._may_change():
            at.dependencies[uuid] = needed

    def _may_change(self) -> bool:
        """The network daemon says which VM serves a network, and may say another one each time."""
        return self._peers.has(network.NAME)


def needs_nothing(config: VmConfig) -> bool:
    return not config.nics and not config.tree.get(NEEDED_KEY)


def _kept(stored: Any) -> dict[str, Tree]:
    vms = stored.items() if isinstance(stored, Mapping) else ()
    return {uuid: _pruned(tree) for uuid, tree in vms if isinstance(tree, Mapping)}


def _pruned(tree: Tree) -> Tree:
    pruned: dict[str, Any] = {}
    for key in KEPT_KEYS:
        found = node(tree, key)
        if found is not None:
            pruned = with_leaf(pruned, key, found)
    return pruned
