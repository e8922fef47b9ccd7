# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated host as a whole: hypervisor, xenstored and guests act on each other here.  No I/O.

`server` gives it sockets, a clock and files; a unit test gives it a clock to turn by hand.
"""

import errno
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openxt_core.ids import DOM0, Domid
from openxt_sim import refusals
from openxt_sim.devices import Backends
from openxt_sim.guests import Behaviour, Guest, Surroundings, log_name, name_path
from openxt_sim.machine import Machine
from openxt_sim.peers import Peer
from openxt_sim.requests import handle
from openxt_sim.store import Quotas, Store
from openxt_sim.tree import Failure
from openxt_xen.hypervisor import (
    DomainSpec,
    HvmBuilt,
    HvmImageSpec,
    ImageSpec,
    Rings,
    ShutdownReason,
    XenError,
)
from openxt_xen.xenstore.wire import Packet, to_text


@dataclass(frozen=True, slots=True)
class World:
    """What the host needs from outside."""

    later: Callable[[float, Callable[[], None]], None]
    console: Callable[[str, str], None]  # file name, text
    head: Callable[[str], bytes | None]  # the first bytes of a file; None: no such file
    flush: Callable[[Peer], None] = lambda _: None  # its outbox has something to send
    domains_changed: Callable[[frozenset[Domid]], None] = lambda _: None  # introduced ones


class Host:
    def __init__(self, world: World, machine: Machine | None = None, quotas: Quotas | None = None) -> None:
        self.machine = machine or Machine()
        self.store = Store(self, quotas)
        self.store.introduced = self._welcome
        self.store.released = self._released
        self.guests: dict[Domid, Guest] = {}
        self._world = world
        self._log_names: dict[Domid, str] = {}
        self._unsaid: dict[Domid, list[str]] = {}
        self._failures: Counter[tuple[str, int]] = Counter()
        self._announced: frozenset[Domid] = frozenset()
        self._backends = Backends(self.store, self.store.connect())
        self._pumping = False

    # What xenstored asks the hypervisor

    def exists(self, domid: Domid) -> bool:
        return domid in self.machine.domains

    def bind_store(self, domid: Domid, port: int) -> bool:
        domain = self.machine.domains.get(domid)
        return domain is not None and domain.image is not None and self.machine.bind_port(domid, port)

    # Requests

    def xenstore(self, peer: Peer, packet: Packet) -> None:
        handle(self.store, peer, packet)
        self.pump()

    def fail_next(self, call: str, error: int, times: int) -> None:
        """Let the next calls of one hypercall fail, and do nothing."""
        self._failures[call, error] += times

    def check_failure(self, call: str) -> None:
        for (name, error), times in self._failures.items():
            if name == call and times > 0:
                self._failures[name, error] -= 1
                raise XenError(call, error, "as the test asked")

    def create_domain(self, spec: DomainSpec) -> Domid:
        return self.machine.create_domain(spec)

    def build(self, domid: Domid, image: ImageSpec, *, pv: bool) -> Rings:
        call = "build_pv" if pv else "build_pvh"
        self.machine.domain(call, domid)
        if error := refusals.of_kernel(self._world.head(image.kernel)):
            raise XenError(call, error, image.kernel)
        if image.ramdisk and (error := refusals.of_ramdisk(self._world.head(image.ramdisk))):
            raise XenError(call, error, image.ramdisk)
        behaviour = _told(call, Behaviour(), image.cmdline)
        rings = self.machine.build(domid, image, pv=pv)
        kind = "pv" if pv else "pvh"
        self.guests[domid] = Guest(domid, kind, image.cmdline, behaviour, self._around(domid))
        return rings

    def build_hvm(self, domid: Domid, image: HvmImageSpec) -> HvmBuilt:
        """The firmware finds what the device model gives it to boot; here it is a guest without words."""
        self.machine.domain("build_hvm", domid)
        if error := refusals.of_kernel(self._world.head(image.loader)):
            raise XenError("build_hvm", error, image.loader)
        if self._world.head(image.firmware) is None:
            raise XenError("build_hvm", errno.ENOENT, f"firmware {image.firmware}")
        built = self.machine.build_hvm(domid, image)
        self.guests[domid] = Guest(domid, "hvm", "", Behaviour(), self._around(domid))
        return built

    def _around(self, domid: Domid) -> Surroundings:
        return Surroundings(
            self.store,
            later=self._later,
            print=lambda text: self._print(domid, text),
            shutdown=lambda reason: self.shutdown(domid, reason),
            balloon=lambda kib: self.machine.balloon(domid, kib),
            set_param=lambda param, value: self.machine.set_hvm_param(domid, param, value),
            set_button=lambda button: self.machine.set_power_button(domid, button),
        )

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        def run() -> None:
            action()
            self.pump()

        self._world.later(delay_s, run)

    def pause(self, domid: Domid) -> None:
        self.machine.pause(domid)
        if domid in self.guests:
            self.guests[domid].is_paused = True

    def unpause(self, domid: Domid) -> None:
        self.machine.unpause(domid)
        if domid in self.guests and self.machine.domains[domid].pauses == 0:
            self.guests[domid].go_on()
        self.pump()

    def shutdown(self, domid: Domid, reason: ShutdownReason) -> None:
        self.machine.shutdown(domid, reason)
        if domid in self.guests:
            self.guests[domid].is_over = True
        self.store.shut_down(domid)
        self.pump()

    def send_trigger(self, domid: Domid, trigger: int, vcpu: int) -> None:
        self.machine.send_trigger(domid, trigger, vcpu)
        if domid in self.guests and self.machine.domains[domid].button.is_pressed:
            self.guests[domid].button_pressed()
        self.pump()

    def resume(self, domid: Domid, *, fast: bool) -> None:
        self.machine.resume(domid, fast=fast)
        if domid in self.guests:
            self.guests[domid].resumed()
        self.pump()

    def save(self, domid: Domid, *, live: bool) -> dict[str, Any]:
        document = self.machine.save(domid, live=live)
        return document | {"guest": self.guests[domid].saved()}

    def restore(self, domid: Domid, saved: Mapping[str, Any], store_port: int, console_port: int) -> Rings:
        rings = self.machine.restore(domid, saved, store_port, console_port)
        memory, kind = saved["guest"], str(saved["kind"])
        behaviour = Behaviour(**memory["behaviour"])
        guest = Guest(domid, kind, memory["cmdline"], behaviour, self._around(domid))
        guest.wake_up_as(memory)
        self.guests[domid] = guest
        return rings

    def destroy_domain(self, domid: Domid) -> None:
        self.machine.destroy_domain(domid)
        if domid in self.guests:
            self.guests.pop(domid).is_over = True
        self._log_names.pop(domid, None)
        self._unsaid.pop(domid, None)
        self.store.gone(domid)
        self.pump()

    # Between them

    def _introduced(self) -> frozenset[Domid]:
        return frozenset(domid for domid in self.machine.domains if domid and self.store.is_introduced(domid))

    def _welcome(self, domid: Domid) -> None:
        """A domain was introduced: its console daemon reads its name, its kernel finds XenStore."""
        dom0 = self._backends.peer
        try:
            self._log_names[domid] = log_name(to_text(self.store.read(dom0, name_path(domid), None).value))
        except Failure:
            pass  # no name, no log: as xenconsoled
        for text in self._unsaid.pop(domid, []):
            self._print(domid, text)
        if domid in self.guests:
            guest = self.guests[domid]
            guest.introduced(guest.peer or self.store.connect(domid))

    def _print(self, domid: Domid, text: str) -> None:
        if domid in self._log_names:
            self._world.console(self._log_names[domid], text + "\n")
        else:
            self._unsaid.setdefault(domid, []).append(text)

    def _released(self, domid: Domid) -> None:
        if domid in self.guests:
            self.guests[domid].peer = None

    def pump(self) -> None:
        """Let everybody inside act on their events until nobody has any; then send what goes outside."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._pump_once():
                pass
        finally:
            self._pumping = False
        for peer in list(self.store.peers):
            if peer.outbox:
                self._world.flush(peer)
        if (introduced := self._introduced()) != self._announced:
            self._announced = introduced
            self._world.domains_changed(introduced)

    def _pump_once(self) -> bool:
        events = _take(self._backends.peer)
        for path, token in events:
            self._backends.event(path, token)
        busy = bool(events)
        for guest in list(self.guests.values()):
            for path, token in _take(guest.peer):
                busy = True
                guest.event(path, token)
        return busy

    # Words from a test

    def crash(self, domid: Domid) -> None:
        self._guest("crash", domid).end(ShutdownReason.CRASH)

    def reboot(self, domid: Domid) -> None:
        self._guest("reboot", domid).end(ShutdownReason.REBOOT)

    def tell(self, domid: Domid, words: str) -> None:
        guest = self._guest("tell", domid)
        guest.behaviour = _told("tell", guest.behaviour, words)

    def _guest(self, call: str, domid: Domid) -> Guest:
        if domid not in self.guests or domid == DOM0:
            raise XenError(call, errno.ESRCH)
        return self.guests[domid]


def _told(call: str, behaviour: Behaviour, words: str) -> Behaviour:
    try:
        return behaviour.told(words)
    except ValueError as error:
        raise XenError(call, errno.EINVAL, str(error)) from error


def _take(peer: Peer | None) -> list[tuple[str, str]]:
    """Path and token of each event that waits for somebody inside."""
    if peer is None:
        return []
    events = [packet.payload.split(b"\0") for packet in peer.outbox]
    peer.outbox.clear()
    return [(to_text(path), to_text(token)) for path, token, *_ in events]
