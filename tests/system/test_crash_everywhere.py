# SPDX-License-Identifier: GPL-2.0-or-later
"""Any one daemon killed at a random moment of a VM's life: the next command works, nothing is lost or left.

Seeded; OPENXT_KILLS says how many lives are lived (a handful by default), OPENXT_SEED which.
"""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest
from houses import House, house

from openxt_api.dbus import OrgFreedesktopDBusClient
from openxt_api.xenmgr import XenmgrClient
from openxt_api.xenmgr_vm import XenmgrVmClient
from openxt_core.errors import RemoteError, Unavailable
from openxt_core.ids import XENMGR_NAME, Uuid, dashed, xenvm_name
from openxt_house.supervisor import children
from openxt_xen.simulated import SimulatedHypervisor

T = TypeVar("T")

KILLS = int(os.environ.get("OPENXT_KILLS", "6"))
SEED = int(os.environ.get("OPENXT_SEED", "20261122"))
VICTIMS = ("dbd", "xenmgr", "xenvm", "xenvm-zygote", "rpc-proxy")
RETRIES = 40
RETRY_PAUSE_S = 0.25

pytestmark = pytest.mark.timeout(60 + 20 * KILLS)


@dataclass
class Life:
    """One VM's life, by commands that are given again when one was cut short."""

    one: House
    name: str
    uuid: Uuid | None = None

    @property
    def xenmgr(self) -> XenmgrClient:
        return XenmgrClient(self.one.bus, XENMGR_NAME)

    def vm(self, path: str) -> XenmgrVmClient:
        return XenmgrVmClient(self.one.bus, XENMGR_NAME, path, timeout_s=60)

    async def live(self) -> None:
        path = await insist(self._create)
        self.uuid = dashed(path.removeprefix("/vm/"))
        vm = self.vm(path)
        await insist(lambda: vm.set_memory(96))
        await insist(vm.start)
        await insist(lambda: self._until(vm, "running"))
        await insist(vm.pause)
        await insist(vm.unpause)
        assert await insist(vm.get_memory) == 96
        assert await insist(vm.get_name) == self.name
        await insist(vm.shutdown)
        await insist(lambda: self._until(vm, "stopped"))
        await insist(lambda: self._delete(path))

    async def _create(self) -> str:
        """As a script would: look first, whether a call that was cut short did its work."""
        for path in await self.xenmgr.list_vms():
            if await self.vm(path).get_name() == self.name:
                return path
        kernel = self.one.layout.root / "storage/kernel"
        kernel.write_text("a kernel")
        config = {
            "hvm": "false",
            "virt-type": "pvh",
            "qemu-dm-path": "",
            "kernel": str(kernel),
            "memory": "64",
            "disk": {"0": {"enable": "false"}},
        }
        text = json.dumps({"name": self.name, "stubdom": "false", "config": config})
        return await self.xenmgr.create_vm_with_template_and_json("new-vm-linux", text)

    async def _until(self, vm: XenmgrVmClient, state: str) -> None:
        found = await vm.get_state()
        if found != state:
            raise Unavailable(f"the VM is {found}, not {state}")

    async def _delete(self, path: str) -> None:
        if path in await self.xenmgr.list_vms():
            await self.vm(path).delete()


async def insist(command: Callable[[], Awaitable[T]]) -> T:
    """Give a command until it works, as a user would who sees an error; bounded."""
    for _ in range(RETRIES):
        try:
            return await command()
        except (RemoteError, Unavailable) as error:
            last = error
            await asyncio.sleep(RETRY_PAUSE_S)
    raise AssertionError(f"still failing after {RETRIES} tries: {last}")


@pytest.fixture
async def one() -> AsyncIterator[House]:
    async with house() as found:
        yield found


async def _kill(one: House, life: Life, victim: str) -> None:
    if victim != "xenvm":
        one.supervisor.kill(victim)
        return
    owner = await one.bus.name_owner(xenvm_name(life.uuid)) if life.uuid else None
    if owner is not None:
        daemon = OrgFreedesktopDBusClient(one.bus, "org.freedesktop.DBus", "/org/freedesktop/DBus")
        os.kill(await daemon.GetConnectionUnixProcessID(owner), signal.SIGKILL)


async def _left(one: House, life: Life) -> list[str]:
    """What a deleted VM has left behind; empty when all is as it was."""
    hypervisor = SimulatedHypervisor(str(one.layout.sim / "hypercalls"))
    left = [f"domain {info.domid}" for info in hypervisor.domains() if info.domid != 0]
    hypervisor.close()
    left += [f"node {node}" for node in await _nodes(one)]
    places = one.layout.places
    left += [f"file {path}" for path in places.at("/tmp").iterdir()]
    left += [f"file {path}" for path in (places.run / "xenvm").glob("*.json")]
    left += [f"file {path}" for path in places.at("/config/vms").glob(f"{life.uuid}*")]
    supervised = {program.pid for program in one.supervisor.supervised.values()}
    left += [f"process {pid}" for pid in set(children()) - supervised]
    return left


async def _nodes(one: House) -> list[str]:
    found = []
    for base in ("/vm", "/xenmgr/vms", "/local/domain"):
        found += [f"{base}/{name}" for name in await one.xenstore.list(base)]
    return [node for node in found if node != "/local/domain/0"]


async def _until_nothing_is_left(one: House, life: Life) -> None:
    """xenvm ends, and dbd saves, a moment after the reply."""
    for _ in range(RETRIES):
        left = await _left(one, life)
        if not left:
            return
        await asyncio.sleep(RETRY_PAUSE_S)
    raise AssertionError(f"left behind: {left}")


async def test_any_daemon_killed_at_any_moment_of_a_life_loses_nothing_and_leaves_nothing(one: House) -> None:
    dice = random.Random(SEED)
    began = time.monotonic()
    await Life(one, "undisturbed").live()
    length_s = time.monotonic() - began
    for number in range(KILLS):
        victim, moment_s = dice.choice(VICTIMS), dice.uniform(0, length_s)
        print(f"life {number}: {victim} is killed after {moment_s:.3f} of {length_s:.3f} s")
        life = Life(one, f"vm{number}")
        async with asyncio.TaskGroup() as group:
            living = group.create_task(life.live())
            await asyncio.wait([living], timeout=moment_s)
            await _kill(one, life, victim)
        await _until_nothing_is_left(one, life)
