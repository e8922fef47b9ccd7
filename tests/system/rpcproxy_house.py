# SPDX-License-Identifier: GPL-2.0-or-later
"""A private host with rpc-proxy and guests on its ports, for tests.

xenmgr is a stand-in here, so that its answers can be chosen; bus, xenstore, dbd and the proxies are real.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from houses import House, house

from openxt_bus.connection import Bus
from openxt_bus.export import Face, ObjectTree
from openxt_bus.transport.hello import HELLO, MAGIC
from openxt_core.errors import RemoteError
from openxt_core.ids import DBD_NAME, RPC_PROXY_NAME, XENMGR_NAME, Domid, Uuid, vm_path
from openxt_core.spec import Arg, Interface, Method, Property, Service, Signal
from openxt_house.services import ServiceSpec
from openxt_sim.relay import GuestPorts

UUID = Uuid("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
GUEST, STRANGER, STUB = Domid(7), Domid(8), Domid(9)
ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"

XENMGR = Interface(
    XENMGR_NAME,
    methods=(Method("list_vms", (), (Arg("vms", "ao"),)),),
    signals=(Signal("vm_config_changed", (Arg("uuid", "s"), Arg("path", "o"))),),
)
HOST = Interface(f"{XENMGR_NAME}.host", methods=(Method("shutdown"),))
UNRESTRICTED = Interface(
    f"{XENMGR_NAME}.vm.unrestricted",
    properties=(
        Property("domstore-read-access", "b", "read"),
        Property("domstore-write-access", "b", "read"),
        Property("usb-control", "b", "read"),
        Property("type", "s", "read"),
    ),
)


PROGRAMS = frozenset({"dbus-daemon", "openxt-sim", "dbd", "rpc-proxy"})


@dataclass
class StandIn:
    """What the stand-in for xenmgr says, and what it was asked to do."""

    properties: dict[str, Any] = field(
        default_factory=lambda: {
            "domstore-read-access": False,
            "domstore-write-access": False,
            "usb-control": False,
            "type": "svm",
        }
    )
    shutdowns: int = 0

    def tree(self) -> ObjectTree:
        outer = self

        class Root(Service):
            SPEC = XENMGR

            def list_vms(self) -> list[str]:
                return [vm_path(UUID)]

        class Host(Service):
            SPEC = HOST

            def shutdown(self) -> None:
                outer.shutdowns += 1

        class Vm(Service):
            SPEC = UNRESTRICTED

            def get_property(self, name: str) -> Any:
                return outer.properties[name]

        tree = ObjectTree()
        tree.route("/", Face(XENMGR, Root))
        tree.route("/host", Face(HOST, Host))
        tree.route(vm_path(UUID), Face(UNRESTRICTED, Vm))
        return tree


@dataclass
class World:
    house: House
    xenmgr: StandIn
    bus: Bus  # the stand-in's

    def address(self, domid: Domid, port: int = 5555) -> str:
        return f"unix:path={self.house.layout.places.run}/guests/{domid}/{port}"

    async def guest(self, domid: Domid = GUEST, port: int = 5555) -> Bus:
        return await Bus.connect(self.address(domid, port))

    async def stream(
        self, port: int, domid: Domid = GUEST
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A stream of that domain to any port of dom0, also one that its firewall does not open."""
        path = self.house.layout.places.v4v / "0" / str(port)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(HELLO.pack(MAGIC, GUEST, 1))
        return reader, writer

    async def start_proxy(self, name: str, *options: str) -> None:
        """Another rpc-proxy; its log is called `name`."""
        layout = self.house.layout
        forward = layout.bus_address.replace("unix:path=", "unix:")
        argv = ("rpc-proxy", "-o", forward, "-r", str(layout.places.rpc_rules), *options)
        await self.house.supervisor.start((ServiceSpec(name, argv),))

    async def heard(self, name: str) -> None:
        """Returns when that proxy has heard what the bus said before: its answer comes later."""
        pid = self.house.supervisor.supervised[name].pid
        await self.bus.call(f"{RPC_PROXY_NAME}.p{pid}", "/", "org.freedesktop.DBus.Peer", "Ping")

    async def config_changed(self) -> None:
        """Returns when the proxy has heard of it: its answer to us comes after what we said before."""
        self.bus.emit("/", XENMGR_NAME, "vm_config_changed", "so", (UUID, vm_path(UUID)))
        await self.bus.call(RPC_PROXY_NAME, "/", RPC_PROXY_NAME, "list_rules")


async def _domain(one: House, domid: Domid, uuid: str | None, target: Domid | None = None) -> None:
    """What a toolstack leaves in xenstore of a domain."""
    base = f"/local/domain/{domid}"
    await one.xenstore.write(f"{base}/name", f"d{domid}")
    if uuid is not None:
        await one.xenstore.write(f"{base}/vm", f"/vm/{uuid}")
        await one.xenstore.write(f"/vm/{uuid}/uuid", uuid)
    if target is not None:
        await one.xenstore.write(f"{base}/target", str(target))


@contextlib.asynccontextmanager
async def guest_world(programs: frozenset[str] = PROGRAMS) -> AsyncIterator[World]:
    """The first default instance of rpc-proxy runs, and three domains' ports are open."""
    async with house(programs) as one:
        await _domain(one, GUEST, UUID)
        await _domain(one, STRANGER, None)
        await _domain(one, STUB, None, target=GUEST)
        ports = GuestPorts(one.layout.places)
        xenmgr = StandIn()
        bus = await Bus.connect(one.layout.bus_address)
        bus.serve(xenmgr.tree())
        assert await bus.request_name(XENMGR_NAME)
        for domid in (GUEST, STRANGER, STUB):
            await ports.open(domid)
        yield World(one, xenmgr, bus)
        for domid in (GUEST, STRANGER, STUB):
            await ports.close(domid)
        bus.close()


async def db(bus: Bus, member: str, *args: str) -> Sequence[Any]:
    return await bus.call(DBD_NAME, "/", DBD_NAME, member, "s" * len(args), args)


async def denied(call: Any) -> str:
    with pytest.raises(RemoteError) as caught:
        await call
    assert caught.value.name == ACCESS_DENIED
    return str(caught.value)
