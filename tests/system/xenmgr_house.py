# SPDX-License-Identifier: GPL-2.0-or-later
"""xenmgr as its clients see it: a private host, and short words for calls, properties and signals."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from houses import House, house

from openxt_bus.connection import Match, Signal
from openxt_core.errors import RemoteError
from openxt_core.ids import DBD_NAME, Uuid, dashed, xenvm_name
from openxt_core.places import Places
from openxt_core.signature import Variant
from openxt_core.spec import Interface
from openxt_xen.simulated import SimulatedHypervisor

XENMGR = "com.citrix.xenclient.xenmgr"
VM = f"{XENMGR}.vm"
UNRESTRICTED = f"{VM}.unrestricted"
PROPERTIES = "org.freedesktop.DBus.Properties"
PROGRAMS = frozenset({"dbus-daemon", "openxt-sim", "dbd", "xenvm-zygote", "xenmgr"})
PATIENCE_S = 20.0


def refused(number: int) -> str:
    """How an error with that number begins."""
    return f"{number}:"


@dataclass
class Desk:
    """A client of xenmgr in dom0."""

    house: House
    signals: "list[tuple[str, list[Any]]]" = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    hear: Callable[[Signal], None] = lambda _: None  # who else listens
    stand_ins: Path = Path("/nonexistent")  # where the programs of the test's own are

    @property
    def places(self) -> Places:
        return self.house.layout.places

    def xen(self) -> SimulatedHypervisor:
        return SimulatedHypervisor(str(self.house.layout.sim / "hypercalls"))

    # Calls

    async def call(
        self, path: str, interface: str, member: str, signature: str = "", *body: Any, timeout_s: float = 60.0
    ) -> Any:
        reply = await self.house.bus.call(
            XENMGR, path, interface, member, signature, body, timeout_s=timeout_s
        )
        return reply[0] if reply else None

    async def root(self, member: str, *texts: str) -> Any:
        return await self.call("/", XENMGR, member, "s" * len(texts), *texts)

    async def vm(self, path: str, member: str, *texts: str) -> Any:
        return await self.call(path, VM, member, "s" * len(texts), *texts)

    async def get(self, path: str, name: str, interface: str = VM) -> Any:
        return (await self.call(path, PROPERTIES, "Get", "ss", interface, name)).value

    async def set(self, path: str, name: str, kind: str, value: Any, interface: str = VM) -> None:
        await self.call(path, PROPERTIES, "Set", "ssv", interface, name, Variant(kind, value))

    async def get_all(self, path: str, interface: Interface) -> dict[str, Any]:
        found = await self.call(path, PROPERTIES, "GetAll", "s", interface.name)
        return {name: variant.value for name, variant in found.items()}

    async def fails(self, work: Awaitable[Any]) -> str:
        """The text of the error that `work` must end with."""
        try:
            await work
        except RemoteError as error:
            return str(error)
        raise AssertionError("no error came")

    async def name_of_error(self, work: Awaitable[Any]) -> str:
        """The D-Bus name of the error that `work` must end with."""
        try:
            await work
        except RemoteError as error:
            return error.name
        raise AssertionError("no error came")

    # The database

    async def db(self, member: str, *texts: str) -> Any:
        reply = await self.house.bus.call(DBD_NAME, "/", DBD_NAME, member, "s" * len(texts), texts)
        return reply[0] if reply else None

    # VMs

    def document(self, **config: Any) -> str:
        """What makes `new-vm-linux` a VM that the simulated host can start."""
        kernel = self.places.storage / "vmlinuz"
        kernel.write_bytes(b"a kernel")
        plain = {
            "hvm": "false",
            "virt-type": "pvh",
            "qemu-dm-path": "",
            "kernel": str(kernel),
            "memory": "64",
            "disk": {"0": {"enable": "false"}},
        }
        return json.dumps({"name": "guest", "stubdom": "false", "config": {**plain, **config}})

    async def create(self, **config: Any) -> str:
        """Path of a new VM that can be started."""
        document = self.document(**config)
        return str(await self.root("create_vm_with_template_and_json", "new-vm-linux", document))

    def uuid(self, path: str) -> Uuid:
        return dashed(path.removeprefix("/vm/"))

    async def state(self, path: str) -> str:
        return str(await self.get(path, "state"))

    async def until_state(self, path: str, *states: str) -> str:
        await self.until(lambda: self._is_in(path, states))
        return await self.state(path)

    async def _is_in(self, path: str, states: tuple[str, ...]) -> bool:
        with contextlib.suppress(RemoteError):  # it may be starting again
            return await self.state(path) in states
        return False

    def domids(self, path: str) -> list[int]:
        xen = self.xen()
        try:
            return [info.domid for info in xen.domains() if info.uuid == self.uuid(path)]
        finally:
            xen.close()

    async def listens(self, path: str) -> None:
        """Returns when the running guest hears requests to shut down, sleep or reboot."""
        feature = f"/local/domain/{await self.get(path, 'domid')}/control/feature-poweroff"
        await self.house.xenstore.wait_until(feature, lambda value: value == "1", PATIENCE_S)

    async def until_there(self, name: str) -> None:
        """Returns when xenmgr knows that a daemon is on the bus: it heard of it before it answers us."""
        assert await self.house.bus.name_owner(name) is not None
        await self.root("list_domids")

    async def has_monitor(self, path: str) -> bool:
        return await self.house.bus.name_owner(xenvm_name(self.uuid(path))) is not None

    async def monitor_pid(self, path: str) -> int:
        bus = "org.freedesktop.DBus"
        name = xenvm_name(self.uuid(path))
        return int((await self.house.bus.call(bus, "/", bus, "GetConnectionUnixProcessID", "s", (name,)))[0])

    # xenmgr's own life

    async def restart(self, *options: str) -> None:
        """Kill xenmgr, and have it serve again; `options` in place of those it has."""
        serving = self.house.log("xenmgr").count("serving")
        if options:
            one = self.house.supervisor.supervised["xenmgr"]
            one.spec = replace(one.spec, argv=("xenmgr", *options))
        self.house.supervisor.kill("xenmgr")
        await self.until(lambda: self.house.log("xenmgr").count("serving") > serving)

    async def boot(self) -> None:
        """Have xenmgr do what it does when the host boots."""
        await self.restart("--no-daemonize")

    # What it leaves

    async def nodes(self, path: str = "/") -> dict[str, str | None]:
        """The whole tree of XenStore."""
        found = {path: await self.house.xenstore.read(path)}
        for name in await self.house.xenstore.list(path):
            found |= await self.nodes(f"{path.rstrip('/')}/{name}")
        return found

    def files(self) -> "frozenset[Path]":
        """What lies about for VMs; `dom0` is not of a VM: the simulated host's own devices are there."""
        folders = (self.places.at("/tmp"), self.places.run / "xenvm")
        return frozenset(path for folder in folders for path in folder.iterdir() if path.name != "dom0")

    # Signals

    def listen(self, signal: Signal) -> None:
        self.signals.append((signal.member, list(signal.body)))
        self.hear(signal)
        self.heard.set()

    def states_told(self, path: str) -> list[str]:
        return [body[2] for name, body in self.signals if name == "vm_state_changed" and body[1] == path]

    def count(self, name: str, path: str) -> int:
        return sum(1 for told, body in self.signals if told == name and body[1:2] == [path])

    def changed_properties(self, interface: str = VM) -> dict[str, Any]:
        """All that PropertiesChanged told of an interface, the last value of each."""
        found: dict[str, Any] = {}
        for name, body in self.signals:
            if name == "PropertiesChanged" and body[0] == interface:
                found |= {key: variant.value for key, variant in body[1].items()}
        return found

    async def until_told(self, name: str, path: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not self.count(name, path):
                self.heard.clear()
                await self.heard.wait()

    @staticmethod
    async def until(true: Callable[[], Any]) -> None:
        """Ask again and again, for what has no event."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = true()
                if await answer if asyncio.iscoroutine(answer) else answer:
                    return
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def desk(*more: str) -> AsyncIterator[Desk]:
    """A host with a client of its xenmgr; `more` programs than xenmgr needs."""
    async with house(PROGRAMS | set(more)) as opened:
        await opened.xenstore.write("/local/domain/0/name", "Domain-0")  # as every dom0 has
        one = Desk(opened)
        await opened.bus.subscribe(Match(sender=XENMGR), one.listen)
        yield one
