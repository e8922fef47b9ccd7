# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated host in the test's own process, with a clock that is turned by hand."""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from openxt_core.ids import DOM0, Domid, Uuid
from openxt_sim.host import Host, World
from openxt_sim.machine import Machine
from openxt_sim.peers import Peer
from openxt_sim.requests import handle
from openxt_xen.hypervisor import DomainSpec, ImageSpec, Kind
from openxt_xen.xenstore import paths, wire
from openxt_xen.xenstore.wire import Op, Packet

UUID = Uuid("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
MEMORY_KIB = 64 * 1024
SLACK_KIB = 1024
GUEST_NODES = ("control/shutdown", "control/sysrq", *(f"control/feature-{w}" for w in ("poweroff", "reboot")))


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now_s + delay_s, next(self._order), action))

    def turn(self, seconds: float = 1.0) -> None:
        end_s = self.now_s + seconds
        while self._due and self._due[0][0] <= end_s:
            self.now_s, _, action = heapq.heappop(self._due)
            action()
        self.now_s = end_s


@dataclass
class Bench:
    """The host and what it did to the outside."""

    clock: Clock = field(default_factory=Clock)
    console: defaultdict[str, str] = field(default_factory=lambda: defaultdict(str))
    files: dict[str, bytes] = field(default_factory=lambda: {"/kernel": b"a kernel", "/initrd": b"a ramdisk"})
    domains: list[frozenset[Domid]] = field(default_factory=list)

    def __post_init__(self) -> None:
        def print_to(name: str, text: str) -> None:
            self.console[name] += text

        world = World(
            later=self.clock.later,
            console=print_to,
            head=self.files.get,
            domains_changed=self.domains.append,
        )
        self.host = Host(world, Machine(memory_kib=1024 * 1024))
        self.dom0 = self.host.store.connect()

    def ask(self, peer: Peer, op: int, payload: bytes = b"", tx: int = 0) -> bytes | str:
        """The reply's payload or the error's name; events stay in the outbox."""
        handle(self.host.store, peer, Packet(op, payload, 1, tx))
        reply = next(packet for packet in peer.outbox if packet.op != Op.WATCH_EVENT)
        peer.outbox.remove(reply)
        self.host.pump()
        return reply.payload.rstrip(b"\0").decode() if reply.op == Op.ERROR else reply.payload

    def read(self, path: str, peer: Peer | None = None) -> bytes | str:
        return self.ask(peer or self.dom0, Op.READ, wire.terminated([path]))

    def write(self, path: str, value: str = "", peer: Peer | None = None) -> bytes | str:
        return self.ask(peer or self.dom0, Op.WRITE, wire.terminated([path]) + value.encode())

    def permit(self, path: str, *words: str, peer: Peer | None = None) -> bytes | str:
        return self.ask(peer or self.dom0, Op.SET_PERMS, wire.terminated([path, *words]))

    def events(self, peer: Peer | None = None) -> list[str]:
        """Paths of the events that wait for a peer, taken away."""
        outbox = (peer or self.dom0).outbox
        found = [wire.to_text(packet.payload.split(b"\0")[0]) for packet in outbox]
        outbox.clear()
        return found

    def watch(self, path: str, peer: Peer | None = None) -> None:
        peer = peer or self.dom0
        assert self.ask(peer, Op.WATCH, wire.terminated([path, "t"])) == b"OK\0"
        self.events(peer)

    def introduce(self, domid: Domid, port: int) -> bytes | str:
        return self.ask(self.dom0, Op.INTRODUCE, wire.terminated([str(domid), "1", str(port)]))

    def build(self, kind: Kind = Kind.PVH, cmdline: str = "", name: str = "test") -> tuple[Domid, int]:
        """A built domain with its nodes, paused, not introduced; and its XenStore port."""
        machine = self.host.machine
        domid = machine.create_domain(DomainSpec(UUID, kind, 1))
        machine.set_max_memory(domid, MEMORY_KIB + SLACK_KIB)
        ports = [machine.alloc_unbound_port(domid, DOM0) for _ in range(2)]
        image = ImageSpec("/kernel", MEMORY_KIB, 1, ports[0], ports[1], cmdline=cmdline)
        self.host.build(domid, image, pv=kind is Kind.PV)
        self.write(paths.domain(domid))
        self.permit(paths.domain(domid), "n0", f"r{domid}")
        self.write(paths.name(domid), name)
        self.write(f"{paths.domain(domid)}/domid", str(domid))
        self.write(paths.memory_target(domid), str(MEMORY_KIB))
        for node in GUEST_NODES:
            self.write(f"{paths.domain(domid)}/{node}")
            self.permit(f"{paths.domain(domid)}/{node}", f"n{domid}")
        return domid, ports[0]

    def start(self, kind: Kind = Kind.PVH, cmdline: str = "", name: str = "test") -> Domid:
        """A running domain that has booted as far as its words let it."""
        domid, port = self.build(kind, cmdline, name)
        assert self.introduce(domid, port) == b"OK\0"
        self.host.unpause(domid)
        self.clock.turn()
        return domid

    def guest(self, domid: Domid) -> Peer:
        """Another connection of that domain."""
        return self.host.store.connect(domid)
