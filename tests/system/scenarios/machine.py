# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine for scenarios, and who sits before it: all that is wanted of the toolstack goes through xec.

Besides that there is what nobody types: the host boots, a guest crashes, somebody changes a disk, a part is
taken out.  `Machine` is on the simulated host; the scenarios that are marked for it run in the emulated
dom0 as well, where guests are real.
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from houses import House, house

from openxt_bus.connection import Match
from openxt_core.ids import DBD_NAME, XENMGR_NAME, Domid, Uuid, dashed
from openxt_core.places import Places
from openxt_xen.hypervisor import HvmParam, Hypervisor
from openxt_xen.libxc import LibXc
from openxt_xen.simulated import SimulatedHypervisor

UNRESTRICTED = "com.citrix.xenclient.xenmgr.vm.unrestricted"
NAMES = {"dbd": DBD_NAME, "xenmgr": XENMGR_NAME}
DBD = ("-s", "com.citrix.xenclient.db")
GUEST = Path("/guest")  # of the emulated dom0
PATIENCE_S = 40.0
RETRIES = 60
PAUSE_S = 0.1

# xenmgr was not there, or went away before it answered: whoever is patient asks again.
GONE = ("Error.ServiceUnknown", "Error.NameHasNoOwner", "Error.NoReply", "Error.Disconnected")
UNDER_WAY = ("the bus went away",)


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def is_lost(self) -> bool:
        """Nobody can tell from it whether it was carried out."""
        return self.code != 0 and any(word in self.err for word in (*GONE, *UNDER_WAY))


@dataclass
class Machine:
    """`is_patient`: commands that were cut short are given again, as a user would."""

    house: House
    is_real: bool = False
    is_patient: bool = False
    told: list[Sequence[Any]] = field(default_factory=list)  # what each vm_state_changed held
    paths: dict[str, str] = field(default_factory=dict)  # of VMs by name, where that saves time

    @property
    def places(self) -> Places:
        return self.house.layout.places

    # What is typed

    async def command(self, *argv: str) -> Done:
        """Run it once."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={**os.environ, **self.house.supervisor.environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return Done(process.returncode, out.decode().rstrip("\n"), err.decode().rstrip("\n"))

    async def insist(self, *argv: str) -> Done:
        """Run it; again while nobody can tell what became of it, if we are patient."""
        done = await self.command(*argv)
        for _ in range(RETRIES if self.is_patient else 0):
            if not done.is_lost:
                break
            await asyncio.sleep(PAUSE_S)
            done = await self.command(*argv)
        return done

    async def xec(self, *words: str) -> str:
        done = await self.insist("xec", *words)
        assert done.code == 0, f"xec {words}: {done.err}"
        return done.out

    def asked(self, name: str) -> tuple[str, ...]:
        """In the emulated dom0 xec, a C program, answers ten times as fast as xec-vm."""
        path = self.paths.get(name)
        return ("xec-vm", "-n", name) if path is None else ("xec", "-o", path)

    async def vm(self, name: str, *words: str) -> str:
        done = await self.insist(*self.asked(name), *words)
        assert done.code == 0, f"xec-vm -n {name} {words}: {done.err}"
        return done.out

    async def owner(self, name: str, *words: str) -> str:
        """Past the VM's own policies."""
        return await self.vm(name, "-i", UNRESTRICTED, *words)

    async def refused(self, name: str, *words: str) -> str:
        """What a command that must fail says."""
        done = await self.insist(*self.asked(name), *words)
        assert done.code != 0, f"xec-vm -n {name} {words} worked: {done.out}"
        return done.err

    async def db(self, *words: str) -> str:
        return await self.xec(*DBD, *words)

    # What is asked again and again

    async def state(self, name: str) -> str:
        return await self.vm(name, "get", "state")

    async def until_state(self, name: str, *states: str) -> None:
        async def is_there() -> bool:
            done = await self.command(*self.asked(name), "get", "state")
            return done.out in states

        await self.until(is_there, f"{name} is {' or '.join(states)}")

    async def until(self, true: Callable[[], Awaitable[object]], what: str) -> None:
        end = asyncio.get_running_loop().time() + PATIENCE_S * (15 if self.is_real else 1)
        while not await true():
            assert asyncio.get_running_loop().time() < end, f"{what}: not within the time"
            await asyncio.sleep(0.02)

    async def until_there(self, file: Path) -> None:
        async def is_there() -> bool:
            return file.exists()

        await self.until(is_there, f"{file} is there")

    async def names(self) -> list[str]:
        """The names of all VMs, ascending."""
        paths = (await self.xec("list-vms")).split()
        return sorted([await self.xec("-o", path, "get", "name") for path in paths])

    async def uuid(self, name: str) -> Uuid:
        return Uuid(await self.vm(name, "get", "uuid"))

    # VMs

    def guest(self, **config: Any) -> dict[str, Any]:
        """What makes `new-vm-linux` a VM that this machine can start."""
        kind = "pv" if self.is_real else "pvh"  # the emulator breaks an interrupt of a PVH guest now and then
        plain = {"hvm": "false", "virt-type": kind, "qemu-dm-path": "", "disk": {"0": {"enable": "false"}}}
        words = str(config.pop("cmdline", "quiet"))
        return {"stubdom": "false", "config": {**plain, **self._kernel(words), **config}}

    def _kernel(self, words: str) -> dict[str, str]:
        if self.is_real:  # it obeys, and its 8 MiB boot in no time
            return {"kernel": str(GUEST / "tiny-pv"), "memory": "8", "cmdline": words}
        kernel = self.places.storage / "vmlinuz"
        kernel.write_bytes(b"a kernel")
        return {"kernel": str(kernel), "memory": "64", "cmdline": words}

    async def create(self, name: str, *, more: dict[str, Any] | None = None, **config: Any) -> str:
        """Its object path.  One that was made by a command that was cut short is taken for it."""
        if self.is_patient:
            known = await self.insist("xec-vm", "-n", name, "get", "uuid")
            if known.code == 0:
                return f"/vm/{known.out.replace('-', '_')}"
        text = json.dumps(
            {"name": name, **self.guest(**{"cmdline": f"quiet vm={name}", **config}), **(more or {})}
        )
        done = await self.command("xec", "create-vm-with-template-and-json", "new-vm-linux", text)
        if done.is_lost and self.is_patient:
            await asyncio.sleep(PAUSE_S)
            return await self.create(name, more=more, **config)
        assert done.code == 0, done.err
        if self.is_real:
            self.paths[name] = done.out
        return done.out

    async def delete(self, name: str) -> None:
        done = await self.insist(*self.asked(name), "delete")
        self.paths.pop(name, None)
        assert done.code == 0 or (self.is_patient and "not found" in done.err), done.err

    # What happens without anybody typing

    def hypervisor(self) -> Hypervisor:
        if self.is_real:
            return LibXc()
        return SimulatedHypervisor(str(self.house.layout.sim / "hypercalls"))

    @contextlib.contextmanager
    def xen(self) -> Iterator[Hypervisor]:
        opened = self.hypervisor()
        try:
            yield opened
        finally:
            opened.close()

    def domains(self) -> dict[int, str]:
        """Domain id → uuid of all guests that there are."""
        with self.xen() as hypervisor:
            return {info.domid: info.uuid for info in hypervisor.domains() if info.domid != 0}

    async def monitors(self) -> set[str]:
        """uuids of the VMs that have a monitor on the bus."""
        bus = "org.freedesktop.DBus"
        (names,) = await self.house.bus.call(bus, "/", bus, "ListNames")
        prefix = "org.xen.vm.uuid_"
        return {dashed(name.removeprefix(prefix)) for name in names if name.startswith(prefix)}

    def acpi(self, domid: int) -> int:
        """The ACPI state of a guest: 0 awake, 3 asleep."""
        with self.xen() as hypervisor:
            return hypervisor.get_hvm_param(Domid(domid), HvmParam.ACPI_S_STATE)

    def crash(self, domid: int) -> None:
        with self.xen() as hypervisor:
            assert isinstance(hypervisor, SimulatedHypervisor)
            hypervisor.crash(domid)

    async def boot(self) -> None:
        """xenmgr comes up as it does when the host boots."""
        one = self.house.supervisor.supervised["xenmgr"]
        one.spec = replace(one.spec, argv=("xenmgr", "--no-daemonize"))
        await self.restart("xenmgr")

    async def restart(self, program: str) -> None:
        """It dies, and is there again."""
        old = await self.house.bus.name_owner(NAMES[program])
        self.house.supervisor.kill(program)

        async def is_up() -> bool:
            return await self.house.bus.name_owner(NAMES[program]) not in (None, old)

        await self.until(is_up, f"{program} serves again")

    async def guest_writes(self, name: str, node: str, value: str) -> None:
        """The guest of that name writes below its own folder of XenStore."""
        domid = await self.vm(name, "get", "domid")
        await self.house.xenstore.write(f"/local/domain/{domid}/{node}", value)

    def program(self, path: str, *lines: str) -> Path:
        """A program of this machine that writes down that it ran; what it wrote."""
        file, log = self.places.at(path), self.places.at(f"/storage/{Path(path).name}.ran")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(["#!/bin/sh", f"echo ran >> {log}", *lines]) + "\n")
        file.chmod(0o755)
        return log

    def console(self, name: str) -> str:
        """All that the guests of that VM ever printed on real Xen; each says its command line first."""
        texts = [log.read_text(errors="replace") for log in self.house.layout.consoles.glob("guest-*.log")]
        return "".join(text for text in texts if re.search(rf"GUEST UP .*\bvm={name}\b", text))

    async def until_says(self, name: str, text: str, times: int = 1) -> None:
        async def is_said() -> bool:
            return self.console(name).count(text) >= times

        await self.until(is_said, f"{name} says {text!r}, {times} times in all")

    def log(self, program: str = "xenmgr") -> str:
        return self.house.layout.log(program).read_text()

    # What was told

    async def until_came_to(self, state: str, names: Sequence[str]) -> None:
        """These VMs and no others came to a state, in this order.  xenmgr tells of it after it is so."""
        wanted = [await self.uuid(name) for name in names]

        async def is_told() -> bool:
            return len(self._order(state)) >= len(wanted)

        await self.until(is_told, f"{len(wanted)} VMs are told to be {state}")
        assert self._order(state) == wanted

    def _order(self, state: str) -> list[str]:
        """uuids of the VMs that came to a state, in that order, each once."""
        return list(dict.fromkeys(uuid for uuid, _, told, _ in self.told if told == state))

    async def until_told_last(self, name: str, state: str) -> None:
        """The last that was told of a VM is that state."""
        uuid = await self.uuid(name)

        async def is_told() -> bool:
            return [told for one, _, told, _ in self.told if one == uuid][-1:] == [state]

        await self.until(is_told, f"{name} is told to be {state}")


@contextlib.asynccontextmanager
async def machine(*, is_real: bool = False) -> AsyncIterator[Machine]:
    """A host of our own; what `vm_state_changed` tells is kept."""
    programs = {"dbus-daemon", "openxt-sim", "dbd", "xenvm-zygote", "xenmgr"}
    async with house(programs, simulated=not is_real) as opened:
        if is_real:
            opened.layout.places.at("/sys").symlink_to("/sys")
        else:
            await opened.xenstore.write("/local/domain/0/name", "Domain-0")  # as every dom0 has
        one = Machine(opened, is_real)
        told = Match(XENMGR_NAME, "vm_state_changed")
        await opened.bus.subscribe(told, lambda signal: one.told.append(signal.body))
        yield one


def uuid_of(path: str) -> Uuid:
    return dashed(path.removeprefix("/vm/"))
