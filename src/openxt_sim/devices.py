# SPDX-License-Identifier: GPL-2.0-or-later
"""Both halves of paravirtual devices: guests' frontends, backends of dom0 and driver domains.  No I/O.

Each half watches the other's `state` and takes the next step of the xenbus handshake; no data ever flows.
  Source of the order: Linux xen-blkfront, xen-netfront and backends.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from openxt_core.ids import DOM0, Domid
from openxt_sim.peers import Peer
from openxt_sim.store import Store
from openxt_sim.tree import Failure
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.wire import to_text

INITIALISING, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED, RECONFIGURING, RECONFIGURED = "12345678"
GONE = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a frontend writes before it says that it is ready, and how it says so."""

    nodes: Mapping[str, str]
    ready: str = CONNECTED
    hotplug: bool = False  # a script of dom0 has its part in it
    backend_nodes: Mapping[str, str] = field(default_factory=dict)
    offers: str = INIT_WAIT  # the backend's first state


_RING = {"ring-ref": "8", "event-channel": "9"}
KINDS = {
    "vbd": Kind(_RING, INITIALISED, True, {"sectors": "2048", "sector-size": "512", "info": "0"}),
    "vif": Kind({"tx-ring-ref": "8", "rx-ring-ref": "9", "event-channel": "10"}, CONNECTED, True),
    "console": Kind(_RING),
    "pci": Kind({"pci-op-ref": "8", "event-channel": "9"}, INITIALISED, offers=INITIALISED),
    "v4v": Kind({}),
}

# (frontend, backend) → the frontend's next states
FRONTEND_STEPS = {
    (INITIALISING, INIT_WAIT): "ready",
    (INITIALISING, INITIALISED): "ready",
    (INITIALISED, CONNECTED): CONNECTED,
    (INITIALISED, CLOSING): CLOSED,
    (CONNECTED, CLOSING): CLOSED,
    (CONNECTED, CLOSED): CLOSED,
    (CONNECTED, GONE): CLOSED,
    (CONNECTED, RECONFIGURING): RECONFIGURING,
    (RECONFIGURING, RECONFIGURED): CONNECTED,
}
# (backend, frontend) → the backend's next state
BACKEND_STEPS = {
    (INIT_WAIT, INITIALISED): CONNECTED,
    (INIT_WAIT, CONNECTED): CONNECTED,
    (INITIALISED, INITIALISED): CONNECTED,
    (CONNECTED, CLOSING): CLOSING,
    (CONNECTED, CLOSED): CLOSED,
    (CONNECTED, GONE): CLOSED,
    (CLOSING, CLOSED): CLOSED,
    (CLOSING, GONE): CLOSED,
    (RECONFIGURING, RECONFIGURING): RECONFIGURED,
    (RECONFIGURED, CONNECTED): CONNECTED,
    (RECONFIGURING, GONE): CLOSED,
    (RECONFIGURED, GONE): CLOSED,
}


class Half:
    """One side: reads and writes as `peer`, and watches the other halves of its devices."""

    def __init__(self, store: Store, peer: Peer) -> None:
        self.store = store
        self.peer = peer

    def read(self, path: str) -> str:
        try:
            return to_text(self.store.read(self.peer, path, None).value)
        except Failure:
            return GONE

    def write(self, path: str, value: str) -> None:
        """As far as the permissions allow: a guest may have been given a folder that it cannot write."""
        try:
            self.store.write(self.peer, path, value.encode(), None)
        except Failure:
            pass

    def children(self, path: str) -> tuple[str, ...]:
        try:
            return self.store.read(self.peer, path, None).children
        except Failure:
            return ()

    def follow(self, path: str, device: str) -> None:
        """Events of `path` are to come with `device` as their token."""
        try:
            watch = self.store.watch(self.peer, path, device.encode())
        except Failure:  # known already, or no path at all
            return
        self.peer.send_event(watch, watch.path)


class Frontends(Half):
    """The guest's drivers."""

    def event(self, path: str, token: str) -> None:
        """`path` is below `device`, or a backend's state with its frontend as the token."""
        device = token or "/".join(path.split("/")[:3])
        kind = KINDS.get(device.split("/")[1]) if device.count("/") == 2 else None
        if kind is None:
            if device == "device":
                self._discover()
            return
        if backend := self.read(f"{device}/backend"):
            self.follow(paths.state(backend), device)
            self._step(kind, device, self.read(paths.state(backend)))

    def _discover(self) -> None:
        for name in self.children("device"):
            for devid in self.children(f"device/{name}"):
                self.event(f"device/{name}/{devid}", "")

    def _step(self, kind: Kind, device: str, backend_state: str) -> None:
        step = FRONTEND_STEPS.get((self.read(paths.state(device)), backend_state))
        if step == "ready":
            for name, value in kind.nodes.items():
                self.write(f"{device}/{name}", value)
            self.write(paths.state(device), kind.ready)
        elif step == CLOSED:
            self.write(paths.state(device), CLOSING)
            self.write(paths.state(device), CLOSED)
        elif step is not None:
            self.write(paths.state(device), step)


class Backends(Half):
    """A domain's drivers for others, with the scripts that they call."""

    def __init__(self, store: Store, peer: Peer, domid: Domid = DOM0) -> None:
        super().__init__(store, peer)
        self.home = paths.backends(domid)
        self.follow(self.home, "")

    def event(self, path: str, token: str) -> None:
        """`path` is below its backends, or a frontend's state with its backend as the token."""
        words = (token or path).removeprefix(self.home + "/").split("/")
        if path == self.home:
            self._discover()
        if len(words) < 3 or words[0] not in KINDS:
            return
        device = "/".join([self.home, *words[:3]])
        state, frontend = self.read(paths.state(device)), self.read(f"{device}/frontend")
        if state == INITIALISING and frontend:
            self._probe(KINDS[words[0]], device, words, frontend)
        elif step := BACKEND_STEPS.get((state, self.read(paths.state(frontend)) if frontend else GONE)):
            if step == RECONFIGURED:
                self._look_over(device)
            self.write(paths.state(device), step)
            if step == CLOSED:
                self._hotplug(words, present=False)

    def _discover(self) -> None:
        """Devices that were there before the domain had booted."""
        for kind in self.children(self.home):
            for domid in self.children(f"{self.home}/{kind}"):
                for devid in self.children(f"{self.home}/{kind}/{domid}"):
                    self.event(f"{self.home}/{kind}/{domid}/{devid}", "")

    def _probe(self, kind: Kind, device: str, words: list[str], frontend: str) -> None:
        for name, value in kind.backend_nodes.items():
            self.write(f"{device}/{name}", value)
        if kind.hotplug:
            self._hotplug(words, present=True)
            self.write(f"{device}/hotplug-status", "connected")
        self._look_over(device)
        self.write(paths.state(device), kind.offers)
        self.follow(paths.state(frontend), device)

    def _look_over(self, device: str) -> None:
        """The devices of a group: pciback takes up those that it does not have.

        One that it lets go leaves no trace: who had asked for that strikes it out.
        """
        for number in range(int(self.read(f"{device}/num_devs") or 0)):
            address = self.read(f"{device}/dev-{number}").partition("@")[0]
            if address and self.read(f"{device}/state-{number}") in (GONE, INITIALISING):
                self.write(f"{device}/vdev-{number}", address)
                self.write(f"{device}/state-{number}", INITIALISED)

    def _hotplug(self, words: list[str], *, present: bool) -> None:
        """The domain's script reports in the private folder, if the toolstack made one."""
        folder = f"/xapi/{words[1]}/hotplug/{words[0]}/{words[2]}"
        try:
            self.store.read(self.peer, folder, None)
        except Failure:
            return
        if present:
            self.write(f"{folder}/hotplug", "online")
        else:
            self.store.rm(self.peer, f"{folder}/hotplug", None)
