# SPDX-License-Identifier: GPL-2.0-or-later
"""The order in which xenmgr comes up: connections, database, service VMs, known VMs, objects, name.

Also the one place where the parts are put together.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

from openxt_bus.connection import Bus
from openxt_bus.daemon import Lifetime
from openxt_bus.export import Face, ObjectTree
from openxt_bus.identity import Identity
from openxt_core.errors import BadRequest, OpenxtError, Unavailable
from openxt_core.ids import DBD_NAME, XENMGR_NAME, Domid, Uuid, parse_uuid
from openxt_core.places import Places
from openxt_core.spec import Call, Service
from openxt_xen.domains import uuid_of
from openxt_xen.xenstore.client import XenStore
from openxt_xenmgr.announce import Announcer
from openxt_xenmgr.deadlines import Deadlines
from openxt_xenmgr.host.power import HostPower
from openxt_xenmgr.host.power_events import XCPMD, PowerEvents
from openxt_xenmgr.host.watches import Watches
from openxt_xenmgr.links import input, network, surfman, usb
from openxt_xenmgr.links.dbd import DbClient
from openxt_xenmgr.links.guest_bus import GuestBuses
from openxt_xenmgr.links.nodes import BACKEND_DOMID, READABLE, Nodes
from openxt_xenmgr.links.presence import Peers
from openxt_xenmgr.objects import devices, entries, host, root, v4v, vm, why
from openxt_xenmgr.objects.publish import Faces, Publisher
from openxt_xenmgr.objects.work import Work
from openxt_xenmgr.registry import Registry
from openxt_xenmgr.tasks import Background
from openxt_xenmgr.vm.autostart import Autostart
from openxt_xenmgr.vm.creation import Creator, inject_services
from openxt_xenmgr.vm.deletion import Remover
from openxt_xenmgr.vm.diagnostics import Diagnostics
from openxt_xenmgr.vm.edits import Editor
from openxt_xenmgr.vm.firewall import Firewall
from openxt_xenmgr.vm.focus import Focus
from openxt_xenmgr.vm.graph import Graph
from openxt_xenmgr.vm.guest import Agents, GuestWatches
from openxt_xenmgr.vm.lifecycle import Lifecycle
from openxt_xenmgr.vm.memory import HostMemory
from openxt_xenmgr.vm.monitor import Monitors
from openxt_xenmgr.vm.outside import Outside
from openxt_xenmgr.vm.pci_guard import hide_early
from openxt_xenmgr.vm.queue import EventQueue
from openxt_xenmgr.vm.reactions import Reactor
from openxt_xenmgr.vm.recovery import Recovery
from openxt_xenmgr.vm.relocation import move_all_clients
from openxt_xenmgr.vm.reports import Reports
from openxt_xenmgr.vm.sleeping import Sleeper
from openxt_xenmgr.vm.start import Starter
from openxt_xenmgr.vm.store import VmStore, learn_lists
from openxt_xenmgr.vm.templates import Templates, folder_of
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

PEERS = (input.NAME, network.NAME, surfman.NAME, usb.NAME, XCPMD)
MAX_SCRIPTS = 1000
DBD_PATIENCE_S = 3600.0


async def run(lifetime: Lifetime, *, autostart: bool) -> None:
    """Serve until told to stop.  VMs and their monitors keep running."""
    bus = await lifetime.connect()
    xs = await XenStore.connect()
    world = make_world(bus, xs)
    lost = asyncio.Event()
    xs.closed = lost.set
    try:
        await serve(lifetime, world, autostart=autostart)
        await _until_end(lifetime, lost)
    finally:
        xs.closed = lambda: None
        await world.background.close()
        world.memory.close()
        xs.close()


async def _until_end(lifetime: Lifetime, store_lost: asyncio.Event) -> None:
    stopped = asyncio.ensure_future(lifetime.until_stopped())
    losing = asyncio.ensure_future(store_lost.wait())
    await asyncio.wait((stopped, losing), return_when=asyncio.FIRST_COMPLETED)
    losing.cancel()
    if not stopped.done():
        stopped.cancel()
        raise Unavailable("the connection to xenstored is lost")
    stopped.result()


def make_world(bus: Bus, xs: XenStore) -> World:
    places = Places.of(os.environ)
    deadlines = Deadlines.of(os.environ)
    announcer, db, registry = Announcer(bus), DbClient(bus), Registry()
    peers = Peers(bus, deadlines.answer_s)
    store = VmStore(db, announcer)
    return World(
        places=places,
        environ=os.environ,
        deadlines=deadlines,
        bus=bus,
        db=db,
        nodes=Nodes(xs),
        announcer=announcer,
        store=store,
        graph=Graph(store.leases, peers),
        registry=registry,
        templates=Templates(folder_of(places, os.environ)),
        memory=HostMemory(os.environ),
        background=Background(),
        peers=peers,
        input=input.InputDaemon(peers),
        network=network.NetworkDaemon(peers, deadlines.networks_s),
        surfman=surfman.Surfman(peers),
        usb=usb.UsbDaemon(peers),
        guest_buses=GuestBuses(os.environ, places, registry.domid_of),
    )


def assemble(world: World, tree: ObjectTree) -> tuple[Work, Recovery]:
    """The working parts, each told of those it hands over to."""
    queue = EventQueue(world.background)
    monitors = Monitors(world, queue)
    firewall = Firewall(world)
    world.store.on_change = firewall.noticed
    life = Lifecycle(world, queue, monitors, Starter(world, queue, monitors, firewall))
    focus, sleeper = Focus(world), Sleeper(world, life)
    power = HostPower(world, life, sleeper, focus)
    watches = GuestWatches(world, queue)
    queue.react = Reactor(world, life, power, watches, Reports(world)).react
    recovery = Recovery(world, life, watches)
    monitors.on_lost, monitors.on_found = recovery.monitor_lost, recovery.monitor_found
    publisher = Publisher(world.registry, world.bus, tree)

    async def uuid_of_domain(domid: Domid) -> Uuid | None:
        return await uuid_of(world.nodes.xs, domid)

    work = Work(
        world=world,
        creator=Creator(world, lambda vm: publisher.added(vm, world.store)),
        remover=Remover(world, life, publisher.removed),
        editor=Editor(world),
        life=life,
        sleeper=sleeper,
        power=power,
        identity=Identity(world.bus, uuid_of_domain),
        publisher=publisher,
        diagnostics=Diagnostics(world),
        firewall=firewall,
        scripts=asyncio.Queue(MAX_SCRIPTS),
    )
    return work, recovery


async def serve(lifetime: Lifetime, world: World, *, autostart: bool) -> None:
    """Everything up to the point where calls are answered."""
    tree = ObjectTree()
    work, recovery = assemble(world, tree)
    if await world.bus.name_owner(XENMGR_NAME) is not None:
        raise Unavailable(f"the bus name {XENMGR_NAME} is taken: is another instance running?")
    await world.peers.follow(PEERS)
    await wait_for_database(world.bus)
    await world.store.leases.follow(world.bus)
    await world.nodes.prepare_host()
    await inject_services(world)
    await set_default_backend(world)
    await Outside(world).follow()
    await find_vms(world, work, recovery)
    await work.remover.finish()
    await work.firewall.begin()
    world.background.spawn("network backends", move_all_clients(world))
    await hide_early(world)
    work.publisher.lay_out(faces(work))
    world.bus.serve(tree)
    await PowerEvents(world, work.power).follow()
    await Agents(world, work.identity).follow()
    _stop_vms_when_asked(world, work.power)
    await work.power.take_up_sleep()
    starter = Autostart(world, work.life, work.power.focus)
    await (starter.prepare() if autostart else starter.forget())
    Reports(world).follow()
    await lifetime.own(world.bus, XENMGR_NAME)
    world.background.spawn("watches of the host", Watches(world, work.power).keep())  # they tell by that name
    log.info("serving %d VMs, %d to start", len(world.registry), len(world.registry.autostart_pending))
    lifetime.ready()
    if autostart:
        world.background.spawn("autostart", starter.begin())


def _stop_vms_when_asked(world: World, power: HostPower) -> None:
    """SIGUSR2: the host goes down; end all VMs by their priority, then ourselves."""

    async def stop() -> None:
        await power.stop_for_init()
        os.kill(os.getpid(), signal.SIGTERM)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR2, lambda: world.background.spawn("stopping all VMs", stop()))


async def wait_for_database(bus: Bus) -> None:
    """dbd is the one thing without which nothing goes."""
    there = asyncio.Event()
    watch, owner = await bus.follow_name(DBD_NAME, lambda _, new: there.set() if new else there.clear())
    try:
        if not owner:
            log.info("waiting for %s", DBD_NAME)
            async with asyncio.timeout(DBD_PATIENCE_S):
                await there.wait()
    except TimeoutError as late:
        raise Unavailable(f"{DBD_NAME} did not come up within {DBD_PATIENCE_S:g} s") from late
    finally:
        await watch.close()


async def set_default_backend(world: World) -> None:
    """dom0 serves networks unless a VM is the default backend."""
    found = await world.db.each("/vm", "provides-default-network-backend")
    if "true" not in found.values():
        await world.nodes.xs.write(BACKEND_DOMID, "0")
        await world.nodes.xs.set_permissions(BACKEND_DOMID, READABLE)


async def find_vms(world: World, work: Work, recovery: Recovery) -> None:
    """Know the stored VMs, how each is, and follow what happens to them."""
    stored = await world.db.dump("/vm")
    for name, tree in (stored if isinstance(stored, dict) else {}).items():
        try:
            uuid = parse_uuid(name)
        except BadRequest as error:
            log.error("/vm/%s is set aside: %s", name, error)
            continue
        if isinstance(tree, dict):
            learn_lists(world.registry.add(uuid), tree)
        else:
            log.error("/vm/%s is set aside: what is stored there is no VM; `db-rm` takes it away", name)
    await work.life.monitors.follow()
    names = await names_on(world.bus)
    recorded = frozenset(await world.nodes.known_uuids())
    for vm_found in world.registry:
        try:
            await recovery.at_start(vm_found, names, recorded)
        except OpenxtError as error:
            log.error("VM %s: its state is not known: %s", vm_found.uuid, error)


async def names_on(bus: Bus) -> frozenset[str]:
    """Every name that is on the bus now."""
    reply = await bus.call("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "ListNames")
    return frozenset(reply[0])


def faces(work: Work) -> Faces:
    """A face for each interface; one is made for each call."""

    def face(kind: Callable[[Call, Work], Service]) -> Face:
        return Face(kind.SPEC, lambda call: kind(call, work))  # type: ignore[attr-defined]  # a class

    def all_of(kinds: tuple[Any, ...]) -> tuple[Face, ...]:
        return tuple(face(kind) for kind in kinds)

    return Faces(
        root=(*all_of(root.FACES), face(v4v.FirewallObject)),
        host=all_of(host.FACES),
        vm=(*all_of(vm.FACES), face(why.WhyObject), face(devices.DevicesObject), face(v4v.VmFirewallObject)),
        disk=(face(entries.DiskObject),),
        nic=(face(entries.NicObject),),
    )
