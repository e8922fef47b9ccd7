# SPDX-License-Identifier: GPL-2.0-or-later
"""apptool as a user runs it on a private host, and what it could leave behind there."""

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xenmgr_house import Desk, desk

from openxt_bus.blocking import BlockingBus
from openxt_core.errors import RemoteError
from openxt_ovf.options import request_of
from openxt_ovf.progress import Progress
from openxt_ovf.session import Session
from ovf_packages import Descriptor, item, package, section

DISK, NIC = "com.citrix.xenclient.vmdisk", "com.citrix.xenclient.vmnic"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


@dataclass
class Shop:
    """A host, a folder for packages, and short words for what a user does."""

    desk: Desk
    folder: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, **self.desk.house.layout.environ(), **self.more}

    async def run(self, *words: str | Path, answer: str = "", program: tuple[str, ...] = ()) -> Result:
        command = [*(program or (str(BIN / "apptool"),)), *map(str, words)]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=-1, stdout=-1, stderr=-1, env=self.environ, cwd=self.folder
        )
        async with asyncio.timeout(50):
            out, err = await process.communicate(answer.encode())
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    async def does(self, *words: str | Path, answer: str = "") -> str:
        """What a command line prints that must succeed."""
        result = await self.run(*words, answer=answer)
        assert result.status == 0, result.err
        return result.out

    async def fails(self, *words: str | Path, answer: str = "") -> str:
        """The error of a command line that must fail."""
        result = await self.run(*words, answer=answer)
        assert result.status == 1, result.err
        _, found, text = result.err.rpartition("apptool: ")
        assert found, result.err
        return text.strip()

    # What is there

    async def tree(self, path: str) -> Any:
        return json.loads(await self.desk.db("dump", path))

    async def appliances(self) -> dict[str, Any]:
        return await self.tree("/appliance") or {}

    async def vms_of(self, id: str) -> dict[str, str]:
        """Object paths by their ids in the package."""
        found = (await self.appliances())[id].get("vm", {})
        return {one["id"]: f"/vm/{uuid.replace('-', '_')}" for uuid, one in found.items()}

    async def vm_of(self, id: str) -> str:
        (path,) = (await self.vms_of(id)).values()
        return path

    async def disks(self, vm: str) -> list[str]:
        return list(await self.desk.vm(vm, "list_disks"))

    async def paths(self, vm: str) -> list[str]:
        """Files of a VM's disks."""
        return [await self.desk.get(disk, "phys-path", DISK) for disk in await self.disks(vm)]

    def files(self) -> dict[str, int]:
        """Every file and folder that an import could leave, with the inode of each file."""
        found = {}
        for top in ("/storage", "/config/dom-store", "/config/platform-crypto-keys", "/tmp"):
            for path in self.desk.places.at(top).rglob("*"):
                if path.is_file() and path.suffix != ".db":
                    found[str(path)] = path.stat().st_ino
                elif path.name.startswith(("_apptemp_", "import-", "iso-")):
                    found[str(path)] = 0
        return found

    async def state(self) -> tuple[Any, ...]:
        """All that must be as before when nothing was imported."""
        vms = {
            path: await self.tree(path.replace("_", "-")) for path in sorted(await self.desk.root("list_vms"))
        }
        return vms, await self.appliances(), await self.tree("/dom-store") or {}, self.files()

    # In this process

    def session(self, *words: str | Path, bus: "Callable[[], BlockingBus] | None" = None) -> Session:
        """apptool's work without its main, so that a test can have a call fail."""
        connect = bus or (lambda: BlockingBus(self.desk.house.layout.bus_address))
        progress = Progress(io.StringIO())
        request = request_of([*map(str, words)])
        return Session(request, self.desk.places, progress, connect, lambda question: "y")


class Failing(BlockingBus):
    """A bus on which one call fails: that with this number, from 0."""

    def __init__(self, address: str, fatal: int) -> None:
        self.left = fatal
        super().__init__(address)

    def call(self, *args: Any, **more: Any) -> Any:
        self.left -= 1
        if self.left == -1:
            raise RemoteError("org.example.Failed", "the test wants this to fail")
        return super().call(*args, **more)


@contextlib.asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[Shop]:
    async with desk() as opened:
        yield Shop(opened, folder)


def disk(format: str, capacity: str = "2097152", more: str = "", file: str = "f") -> str:
    reference = f' ovf:fileRef="{file}"' if file else ""
    size = f' ovf:capacity="{capacity}"' if capacity else ""
    return f'<Disk ovf:diskId="d"{reference}{size} ovf:format="{format}"{more}/>'


async def imported_disk(it: Shop, disks: str, files: dict[str, bytes], xci: str = "", more: str = "") -> str:
    """Path of the image that a disk became."""
    references = "".join(
        f'<File ovf:id="{"fgh"[n]}" ovf:href="{name}"{more}/>' for n, name in enumerate(files)
    )
    items = item(7, 17, "HostResource=ovf:/disk/d")
    made = package(Descriptor(files=references, disks=disks, items=items, xci=section(xci)), files)
    await it.does("--import", made.ova(it.folder / "d.ova"), "--trusted")
    (path,) = await it.paths(await it.vm_of("shop"))
    return path
