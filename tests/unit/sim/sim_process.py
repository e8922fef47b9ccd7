# SPDX-License-Identifier: GPL-2.0-or-later
"""A running simulated host: in the test's own event loop, or as the program that it is."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from openxt_core.ids import DOM0, Domid, Uuid
from openxt_core.places import Places
from openxt_sim.machine import Machine
from openxt_sim.server import Server
from openxt_xen.hypervisor import DomainSpec, ImageSpec, Kind

MEMORY_KIB = 4096
SLACK_KIB = 1024


@contextlib.asynccontextmanager
async def running_server(folder: Path) -> AsyncIterator[Server]:
    server = Server(folder, Places(folder), Machine())
    await server.start()
    follower = asyncio.create_task(server.follow_domains())
    try:
        yield server
    finally:
        follower.cancel()
        await server.stop()


@contextlib.contextmanager
def running_program(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`openxt-sim`, ready; terminated at the end unless it has ended."""
    environ = os.environ | {"OPENXT_ROOT": str(folder)}
    command = [sys.executable, "-m", "openxt_sim", "--dir", str(folder)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.terminate()


def start_guest(server: Server, folder: Path, cmdline: str = "") -> Domid:
    """An introduced and running domain."""
    kernel = folder / "kernel"
    kernel.write_text("a kernel")
    host = server.host
    domid = host.machine.create_domain(DomainSpec(Uuid("6ba7b810-9dad-41d1-80b4-00c04fd430c8"), Kind.PVH, 1))
    host.machine.set_max_memory(domid, MEMORY_KIB + SLACK_KIB)
    port = host.machine.alloc_unbound_port(domid, DOM0)
    host.build(domid, ImageSpec(str(kernel), MEMORY_KIB, 1, port, port, cmdline=cmdline), pv=False)
    host.store.introduce(domid, port)
    host.unpause(domid)
    return domid


async def appears(path: Path) -> None:
    """A file that another task of this loop is about to make."""
    async with asyncio.timeout(10):
        while not path.exists():
            await asyncio.sleep(0)


async def vanishes(path: Path) -> None:
    async with asyncio.timeout(10):
        while path.exists():
            await asyncio.sleep(0)
