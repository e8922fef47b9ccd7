# SPDX-License-Identifier: GPL-2.0-or-later
"""A small service of the same shape as xenmgr on a private bus, and xec and xec-vm run against it."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from openxt_bus.connection import Bus
from openxt_bus.export import Face, ObjectTree
from openxt_core.errors import RemoteError, VmBadState
from openxt_core.spec import Arg, Interface, Method, Property, Service

NAME = "com.citrix.xenclient.xenmgr"
VM = f"{NAME}.vm"
MIXED = tuple(Arg(kind, kind) for kind in "ynqiuxtbso")
ROOT_SPEC = Interface(
    NAME,
    methods=(
        Method("list_vms", (), (Arg("paths", "ao"),)),
        Method(
            "add_up",
            (Arg("numbers", "ai"), Arg("by_name", "a{sv}")),
            (Arg("sum", "i"), Arg("names", "as")),
        ),
        Method("get_nothing"),
        Method("mixed", MIXED, MIXED),
        Method("lists", (), tuple(Arg(kind, f"a{kind}") for kind in "isb")),
        Method("fail", (Arg("name", "s"),)),
    ),
)
VM_SPEC = Interface(
    VM,
    methods=(
        Method("start"),
        Method("list_disks", (), (Arg("paths", "ao"),)),
        Method("list_nics", (), (Arg("paths", "ao"),)),
        Method("add_pt_rule", (Arg("class", "s"), Arg("vendor", "s"), Arg("device", "s"))),
    ),
    properties=(
        Property("name", "s", "readwrite"),
        Property("uuid", "s", "read"),
        Property("domid", "i", "read"),
        Property("state", "s", "read"),
        Property("acpi-state", "i", "read"),
        Property("start-on-boot", "b", "readwrite"),
        Property("memory", "i", "readwrite"),
    ),
)
UNRESTRICTED = Interface(
    f"{VM}.unrestricted", methods=(Method("unrestricted"),), properties=VM_SPEC.properties
)
DISK_SPEC = Interface("com.citrix.xenclient.vmdisk", properties=(Property("phys-path", "s", "readwrite"),))


@dataclass
class Vms:
    """What the service remembers."""

    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)

    def add(self, name: str, domid: int, number: int) -> None:
        uuid = f"00000000-0000-0000-0000-{number:012}"
        self.values[uuid.replace("-", "_")] = {
            "name": name,
            "uuid": uuid,
            "domid": domid,
            "state": "stopped" if domid < 0 else "running",
            "start-on-boot": False,
            "memory": 512,
            "acpi-state": 0 if domid >= 0 else 5,
        }


@dataclass
class Root(Service):
    SPEC = ROOT_SPEC
    vms: Vms = field(default_factory=Vms)

    def list_vms(self) -> list[str]:
        return [f"/vm/{key}" for key in (*self.vms.values, *self.vms.ghosts)]

    def add_up(self, numbers: list[int], by_name: dict[str, Any]) -> tuple[int, list[str]]:
        return sum(numbers) + sum(value.value for value in by_name.values()), list(by_name)

    def get_nothing(self) -> None:
        return None

    def mixed(self, *values: Any) -> tuple[Any, ...]:
        return values

    def lists(self) -> tuple[list[int], list[str], list[bool]]:
        return [1, -2], [], [True]

    def fail(self, name: str) -> None:
        raise RemoteError(f"a.b.{name}", "it is, as asked: ü")


@dataclass
class Vm(Service):
    SPEC = VM_SPEC
    vms: Vms = field(default_factory=Vms)

    @property
    def values(self) -> dict[str, Any]:
        return self.vms.values[self.call.key[0]]

    def start(self) -> None:
        if self.values["domid"] >= 0:
            raise VmBadState("VM is running")
        self.vms.calls.append(("start", self.values["name"]))

    def list_disks(self) -> list[str]:
        return [f"{self.call.path}/disk/0"]

    def list_nics(self) -> list[str]:
        return [f"{self.call.path}/nic/7"]

    def add_pt_rule(self, class_: str, vendor: str, device: str) -> None:
        self.vms.calls.append(("add_pt_rule", class_, vendor, device))

    def unrestricted(self) -> None:
        self.vms.calls.append(("unrestricted", self.values["name"]))

    def get_property(self, name: str) -> Any:
        return self.values[name]

    def set_property(self, name: str, value: Any) -> None:
        self.values[name] = value


@dataclass
class UnrestrictedVm(Vm):
    SPEC: ClassVar[Interface] = UNRESTRICTED


@dataclass
class Disk(Service):
    SPEC = DISK_SPEC

    def get_property(self, name: str) -> str:
        return f"/disks/{self.call.key[1]}.vhd"


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


@dataclass
class House:
    environ: dict[str, str]
    vms: Vms
    server: Bus
    programs: Path = Path(sys.executable).parent

    async def run(self, program: str, *words: str, **environ: str) -> Result:
        path = self.programs / program
        process = await asyncio.create_subprocess_exec(
            path, *words, stdout=-1, stderr=-1, env=self.environ | environ
        )
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    async def prints(self, line: str, *more: str) -> str:
        """What a command line prints that must succeed."""
        program, *words = line.split()
        result = await self.run(program, *words, *more)
        assert (result.status, result.err) == (0, "")
        return result.out

    async def fails(self, line: str, *more: str) -> str:
        program, *words = line.split()
        result = await self.run(program, *words, *more)
        assert (result.status, result.out) == (1, "")
        return result.err


@contextlib.asynccontextmanager
async def running(
    bus_address: str, root: Path, programs: Path = Path(sys.executable).parent
) -> AsyncIterator[House]:
    vms = Vms()
    vms.add("stopped one", -1, 1)
    vms.add("ndvm", 12, 2)
    vms.add("a-desktop-with-quite-a-long-name", 3, 3)
    server = await Bus.connect(bus_address)
    server.serve(_tree(vms))
    assert await server.request_name(NAME)
    environ = {"DBUS_SYSTEM_BUS_ADDRESS": bus_address, "OPENXT_ROOT": str(root)}
    yield House(environ, vms, server, programs)
    server.close()


def _tree(vms: Vms) -> ObjectTree:
    tree = ObjectTree()

    def is_known(key: tuple[str, ...]) -> bool:
        return key[0] in vms.values

    tree.route("/", Face(ROOT_SPEC, lambda call: Root(call, vms)))
    faces = (
        Face(VM_SPEC, lambda call: Vm(call, vms)),
        Face(UNRESTRICTED, lambda call: UnrestrictedVm(call, vms)),
    )
    tree.route("/vm/{vm}", *faces, exists=is_known)
    tree.route("/vm/{vm}/disk/{disk}", Face(DISK_SPEC, Disk), exists=is_known)
    return tree


PATH = "/vm/00000000_0000_0000_0000_000000000003"
