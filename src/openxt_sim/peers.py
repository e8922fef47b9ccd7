# SPDX-License-Identifier: GPL-2.0-or-later
"""Who talks to the simulated xenstored: connections, their watches and what waits to be sent.  Pure."""

import itertools
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from openxt_core.ids import DOM0, Domid
from openxt_sim.tree import Transaction, ancestors_of
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.wire import PAYLOAD_MAX, Op, Packet


@dataclass(frozen=True, slots=True)
class Watch:
    path: str
    token: bytes
    relative_to: str  # what is cut from event paths; "" for a watch with an absolute path

    def covers(self, path: str, *, exact: bool) -> bool:
        if exact or self.path == path:
            return self.path == path
        return self.path == "/" or path.startswith(self.path + "/")


@dataclass(eq=False)
class Peer:
    """One connection.  `domid` None: a socket in dom0, which may do everything."""

    domid: Domid | None = None
    outbox: deque[Packet] = field(default_factory=deque)
    watches: list[Watch] = field(default_factory=list)
    transactions: dict[int, Transaction] = field(default_factory=dict)
    is_open: bool = True
    tx_ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def home(self) -> str:
        """What paths without a leading `/` are relative to."""
        return paths.domain(self.domid or DOM0)

    def absolute(self, path: str) -> str:
        return path if path.startswith(("/", "@")) else f"{self.home}/{path}"

    def send_event(self, watch: Watch, path: str) -> None:
        """Dropped when too long, or when the same event still waits (but for `@` events)."""
        shown = path.removeprefix(watch.relative_to).encode("latin-1")
        event = Packet(Op.WATCH_EVENT, shown + b"\0" + watch.token + b"\0")
        if len(event.payload) <= PAYLOAD_MAX and (path.startswith("@") or event not in self.outbox):
            self.outbox.append(event)


class Watchers:
    """Who watches which path: a change concerns few of the hundreds that are connected."""

    def __init__(self) -> None:
        self._by_path: defaultdict[str, list[Peer]] = defaultdict(list)  # once for each watch

    def add(self, peer: Peer, watch: Watch) -> None:
        self._by_path[watch.path].append(peer)

    def remove(self, peer: Peer, watch: Watch) -> None:
        peers = self._by_path[watch.path]
        peers.remove(peer)
        if not peers:
            del self._by_path[watch.path]

    def of(self, path: str, *, exact: bool) -> Iterable[Peer]:
        """Each that has a watch which covers the path."""
        places = [path] if exact else [path, *ancestors_of(path)]
        return dict.fromkeys(peer for place in places for peer in self._by_path.get(place, ()))
