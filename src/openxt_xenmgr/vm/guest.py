# SPDX-License-Identifier: GPL-2.0-or-later
"""What a running guest itself tells: its PV drivers in XenStore, its CD drives, its agent on the bus.

All of it is a guest's word, so it is bounded: nodes are read at most twice a second for each guest, however
often it writes; version numbers are numbers; an agent is heard for its own VM alone.
Source: OpenXT xenmgr, 2015.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from openxt_api.guest import GUEST
from openxt_bus.connection import Match, Signal
from openxt_bus.identity import Identity
from openxt_core.ids import Domid, Uuid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import Watch
from openxt_xenmgr.host.facts import build_information
from openxt_xenmgr.links.nodes import export_node
from openxt_xenmgr.properties.table import Change
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.tasks import Debounce
from openxt_xenmgr.vm.events import GuestWrote, Written
from openxt_xenmgr.vm.queue import EventQueue
from openxt_xenmgr.world import World

DELAY_S = 0.5
ADDONS, UNINSTALLED = "attr/PVAddons", "attr/PVAddonsUninstalled"
VERSION_NODES = ("MajorVersion", "MinorVersion", "MicroVersion", "BuildVersion")
SUBJECTS = {Written.ADDONS: ADDONS, Written.UNINSTALLED: UNINSTALLED, Written.DISCS: "bsgdev"}

_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)


class GuestWatches:
    """Turns what running guests write into events of their VMs."""

    def __init__(self, world: World, queue: EventQueue) -> None:
        self._world = world
        self._queue = queue
        self._watches: dict[Uuid, list[Watch]] = {}
        self._wrote = Debounce(DELAY_S, self._due)

    async def begin(self, vm: Vm) -> None:
        """Follow the present domain; each subject is told of once at the beginning."""
        if vm.domid is None or vm.uuid in self._watches:
            return
        watches = self._watches[vm.uuid] = []
        for subject, name in SUBJECTS.items():
            path = f"{paths.domain(vm.domid)}/{name}"
            watches.append(await self._world.nodes.xs.watch(path, self._callback(vm, subject)))

    def _callback(self, vm: Vm, subject: Written) -> Callable[[str], None]:
        return lambda _path: self._wrote.request_once(f"{vm.uuid} {subject}")

    async def end(self, vm: Vm) -> None:
        for subject in SUBJECTS:
            self._wrote.forget(f"{vm.uuid} {subject}")
        for watch in self._watches.pop(vm.uuid, []):
            await watch.close()

    def _due(self, key: str) -> None:
        uuid, _, subject = key.partition(" ")
        vm = self._world.registry.find(uuid)
        if vm is not None:
            self._queue.post(vm, GuestWrote(Written(subject)))


# PV drivers


async def note_addons(world: World, vm: Vm) -> None:
    """The guest has PV drivers, and of which version, if its nodes say so."""
    if vm.domid is None:
        return
    top, read = f"{paths.domain(vm.domid)}/{ADDONS}", world.nodes.xs.read
    if await read(f"{top}/Installed") != "1":
        return
    guest_version = [await read(f"{top}/{name}") or "" for name in VERSION_NODES]
    version = version_of(guest_version)
    changes = [Change("pv-addons-installed", "true")]
    await world.store.change(vm, changes + ([Change("pv-addons-version", version)] if version else []))


def version_of(guest_parts: list[str]) -> str:
    """Joined by dots; empty unless there are four numbers."""
    good = [part for part in guest_parts if _NUMBER.fullmatch(part)]
    return ".".join(good) if len(good) == len(VERSION_NODES) else ""


async def note_no_addons(world: World, vm: Vm) -> None:
    """The guest has uninstalled its PV drivers, if its node says so."""
    if vm.domid is None or await world.nodes.xs.read(f"{paths.domain(vm.domid)}/{UNINSTALLED}") != "1":
        return
    await world.store.change(vm, (Change("pv-addons-installed", "false"), Change("pv-addons-version", "")))


# Its agent on the bus


@dataclass(frozen=True)
class Agents:
    """Listens to the agents inside guests, which rpc-proxy lets through."""

    world: World
    identity: Identity
    busy: set[tuple[str, str]] = field(default_factory=set)

    async def follow(self) -> None:
        heard: dict[str, Callable[[Domid, Vm], Awaitable[None]]] = {
            "agent_started": self._started,
            "agent_uninstalled": self._uninstalled,
            "xorg_running": self._shows,
        }
        for member, react in heard.items():
            await self.world.bus.subscribe(Match(GUEST.name, member), self._listener(react))

    def _listener(self, react: Callable[[Domid, Vm], Awaitable[None]]) -> Callable[[Signal], None]:
        def hear(signal: Signal) -> None:
            """A guest that says it again while it is attended to is not heard."""
            key = (signal.sender, signal.member)
            if key not in self.busy:
                self.busy.add(key)
                self.world.background.spawn(f"{signal.member} of a guest", self._attend(key, react))

        return hear

    async def _attend(self, key: tuple[str, str], react: Callable[[Domid, Vm], Awaitable[None]]) -> None:
        try:
            caller = await self.identity.of(key[0])
            vm = self.world.registry.of_domid(caller.domid)
            if vm is not None and caller.uuid == vm.uuid and not caller.is_dom0:
                await react(caller.domid, vm)
        finally:
            self.busy.discard(key)

    async def _started(self, domid: Domid, vm: Vm) -> None:
        """The agent comes with the drivers; their version is that of the host's tools."""
        parts = build_information(self.world.places)["tools"].split(".")
        if len(parts) != len(VERSION_NODES):
            return
        top, xs = paths.domain(domid), self.world.nodes.xs
        await xs.rm(f"{top}/{UNINSTALLED}")
        for name, part in zip(VERSION_NODES, parts, strict=True):
            await xs.write(f"{top}/{ADDONS}/{name}", part)
        await xs.write(f"{top}/{ADDONS}/Installed", "1")

    async def _uninstalled(self, domid: Domid, vm: Vm) -> None:
        top, xs = paths.domain(domid), self.world.nodes.xs
        await xs.rm(f"{top}/{ADDONS}")
        await xs.write(f"{top}/{UNINSTALLED}", "1")

    async def _shows(self, domid: Domid, vm: Vm) -> None:
        await self.world.nodes.xs.write(f"{export_node(vm.uuid)}/xorg", "1")
