# SPDX-License-Identifier: GPL-2.0-or-later
"""A private host for tests of xenvm: a bus, a simulated Xen, and monitors as real processes."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from openxt_bus.connection import Bus, Match, Signal
from openxt_core.ids import Domid, Uuid, xenvm_name, xenvm_path
from openxt_core.places import Places
from openxt_xen.simulated import SimulatedHypervisor
from openxt_xen.xenstore.client import XenStore
from openxt_xenvm.dom0.simulated import SimulatedKeeper

UUID = Uuid("00000000-0000-0000-0000-0000000000a1")
OTHER = Uuid("00000000-0000-0000-0000-0000000000b2")

START = ["creating-domain", "creating-devices", "created", "running"]

PVH = """\
uuid = {uuid}
name = guest
notify = dbus
startup = shutdown
virt-type = pvh
kernel = {kernel}
memory = 64
on_restart = preserve
extra-local-watch = power-state
cmdline = {cmdline}
"""


@dataclass
class House:
    root: Path
    environ: dict[str, str]
    bus: Bus
    xen: SimulatedHypervisor
    store: XenStore
    sim: subprocess.Popen[bytes]
    heard: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)
    monitors: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def config(self, *extra: str, uuid: Uuid = UUID, cmdline: str = "") -> Path:
        """A config file; later lines win."""
        kernel = self.root / "kernel"
        kernel.write_bytes(b"a kernel")
        path = self.root / f"xenmgr-xenvm-{uuid}"
        path.write_text("\n".join([PVH.format(uuid=uuid, kernel=kernel, cmdline=cmdline), *extra]))
        return path

    def launch(
        self, *arguments: str, program: tuple[str, ...] = ("-m", "openxt_xenvm"), **environ: str
    ) -> subprocess.Popen[bytes]:
        """A monitor in the foreground; whether it serves is told by its signals."""
        return self._launch(["-m", "openxt_xenvm", "--no-daemonize", *arguments], environ)

    def launch_program(self, program: list[str], config: Path, **environ: str) -> subprocess.Popen[bytes]:
        """The same by another program of Python."""
        return self._launch([*program, "--no-daemonize", "--config", str(config)], environ)

    def _launch(self, words: list[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
        monitor = subprocess.Popen([sys.executable, *words], env=self.environ | environ)
        self.monitors.append(monitor)
        return monitor

    async def monitor(self, config: Path, **environ: str) -> subprocess.Popen[bytes]:
        """A monitor that serves."""
        monitor = self.launch("--config", str(config), **environ)
        await self.hear("ping", "dbus-rpc-up")
        return monitor

    async def running(self, *lines: str, cmdline: str = "", **environ: str) -> Domid:
        """A guest whose drivers are up, with its monitor; all states of its start were heard."""
        await self.monitor(self.config(*lines, cmdline=cmdline), **environ)
        await self.call("start")
        await self.hear(*START)
        (domid,) = self.domids()
        await self.guest_is_up(domid)
        return domid

    async def call(self, task: str, uuid: Uuid = UUID, **given: str) -> str | None:
        name = xenvm_name(uuid)
        arguments = {key.replace("_", "-"): value for key, value in given.items()}
        reply = await self.bus.call(name, xenvm_path(uuid), name, task, "a{ss}", (arguments,))
        return str(reply[0]) if reply else None

    async def hear(self, *messages: str) -> None:
        """The next notifications are these, in this order."""
        for message in messages:
            async with asyncio.timeout(15):
                heard = await self.heard.get()
            assert heard.removeprefix("vm:state:") == message

    async def hear_states(self, *states: str) -> None:
        """The next changes of state are these; other notifications are passed over."""
        for state in states:
            assert await self._next_state() == state

    async def _next_state(self) -> str:
        async with asyncio.timeout(15):
            while not (heard := await self.heard.get()).startswith("vm:state:"):
                pass
        return heard.removeprefix("vm:state:")

    def silence(self) -> list[str]:
        """What was heard meanwhile and nobody asked for."""
        return [self.heard.get_nowait() for _ in range(self.heard.qsize())]

    def domids(self, uuid: Uuid = UUID) -> list[Domid]:
        return [info.domid for info in self.xen.domains() if info.uuid == uuid]

    async def nodes(self, path: str = "/") -> dict[str, str | None]:
        """The whole tree of XenStore."""
        found = {path: await self.store.read(path)}
        for name in await self.store.list(path):
            found |= await self.nodes(f"{path.rstrip('/')}/{name}")
        return found

    @property
    def keeper(self) -> SimulatedKeeper:
        """The same dom0 that the monitors see."""
        return SimulatedKeeper(self.root / "var/run/xenvm/dom0")

    def bridge(self, name: str) -> Path:
        """A bridge of dom0, new if need be: a folder of its interfaces."""
        folder = self.keeper.folder / "bridges" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def loops(self) -> dict[str, str]:
        """What stands behind the loop devices that are in use."""
        return {loop.name: loop.read_text() for loop in self.keeper.loops.glob("*")}

    def attached(self) -> dict[str, str]:
        """What stands behind everything of dom0 that was attached to a disk."""
        layers = ("loops", "images", "crypts")
        made = [file for layer in layers for file in (self.keeper.folder / layer).glob("*")]
        return {f"{file.parent.name}/{file.name}": file.read_text() for file in made}

    def pci(self, address: str, driver: str = "e1000") -> Path:
        """A PCI device of the host: its folder, as in sysfs."""
        folder = self.keeper.folder / "pci" / address
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "driver").write_text(driver)
        (folder / "resource").write_text(
            "0xfebc0000 0xfebdffff 0x40200\n0xc000 0xc03f 0x40101\n0x0 0x0 0x0\n"
        )
        (folder / "irq").write_text("11\n")
        return folder

    def file(self, name: str) -> Path:
        """An image for a disk."""
        path = self.root / name
        path.write_bytes(bytes(4096))
        return path

    def record(self, uuid: Uuid = UUID) -> Path:
        return Places(self.root).xenvm_record(uuid)

    async def guest_is_up(self, domid: Domid) -> None:
        """It watches its control nodes now."""
        feature = f"/local/domain/{domid}/control/feature-poweroff"
        await self.store.wait_until(feature, lambda value: value == "1", 10)

    async def gone(self, monitor: subprocess.Popen[bytes]) -> int:
        async with asyncio.timeout(15):
            return await asyncio.to_thread(monitor.wait)

    async def kill(self, monitor: subprocess.Popen[bytes]) -> None:
        """At once, and wait until the bus has noticed."""
        monitor.send_signal(signal.SIGKILL)
        await self.gone(monitor)
        await self.until(self.is_absent)

    async def is_absent(self) -> bool:
        return await self.bus.name_owner(xenvm_name(UUID)) is None

    @staticmethod
    async def until(true: "Callable[[], object]") -> None:
        """Ask again and again, for what has no event."""
        async with asyncio.timeout(15):
            while True:
                answer = true()
                if await answer if asyncio.iscoroutine(answer) else answer:
                    return
                await asyncio.sleep(0.01)


@asynccontextmanager
async def open_house(root: Path, bus_address: str, *options: str) -> AsyncIterator[House]:
    """For the length of a `with` block; nothing of it is left afterwards.  `options` of openxt_sim."""
    environ = os.environ | {
        "OPENXT_ROOT": str(root),
        "DBUS_SYSTEM_BUS_ADDRESS": bus_address,
        "XENSTORED_PATH": str(root / "sim/xenstored"),
        "OPENXT_HYPERVISOR": f"simulated:{root / 'sim/hypercalls'}",
        "OPENXT_LOG": "stderr",
        "XENVM_ACKNOWLEDGE_S": "5",
    }
    sim = subprocess.Popen(
        [sys.executable, "-m", "openxt_sim", "--dir", str(root / "sim"), *options],
        env=environ,
        stdout=subprocess.PIPE,
    )
    assert sim.stdout is not None
    assert sim.stdout.readline() == b"ready\n"
    bus = await Bus.connect(bus_address)
    store = await XenStore.connect(environ["XENSTORED_PATH"])
    await store.write("/local/domain/0/name", "Domain-0")  # as every dom0 has
    house = House(root, environ, bus, SimulatedHypervisor(str(root / "sim/hypercalls")), store, sim)

    def heard(signal: Signal) -> None:
        if signal.body[0] == UUID:
            house.heard.put_nowait(str(signal.body[2]))

    await bus.subscribe(Match("xenvm.signal.notify", "notify"), heard)
    try:
        yield house
    finally:
        for process in (*house.monitors, sim):
            process.kill()
            process.wait()
        sim.stdout.close()
        house.xen.close()
        store.close()
        bus.close()


@contextmanager
def builds_held(house: House) -> Iterator[None]:
    """No domain's image can be built meanwhile."""
    lock = house.root / "var/lock/xen-buildvm-lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
