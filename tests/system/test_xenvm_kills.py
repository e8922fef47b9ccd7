# SPDX-License-Identifier: GPL-2.0-or-later
"""A monitor is killed at every boundary of every operation: the next one finishes it or undoes it.

Usually at some boundaries of each, with `make proof` at all of them.
"""

import asyncio
import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
from xenvm_house import UUID, House

from effort import effort
from openxt_api.xenvm_task_list import XenvmTasksClient
from openxt_core.errors import OpenxtError
from openxt_core.ids import xenvm_name, xenvm_path

DYING = str(Path(__file__).with_name("dying_xenvm.py"))
EVERY = effort(9, 1)
MOST = 200


@dataclass(frozen=True)
class Operation:
    """What is asked, from which state, and how it may end when the monitor dies in between."""

    task: str
    begins: str  # running, suspended or shutdown
    ends: frozenset[str]
    given: tuple[tuple[str, str], ...] = ()


OPERATIONS = [
    Operation("start", "shutdown", frozenset({"shutdown", "running"})),
    Operation("halt", "running", frozenset({"shutdown"})),
    Operation("destroy", "running", frozenset({"shutdown"})),
    Operation("reboot", "running", frozenset({"running"}), (("auto_start", "true"),)),
    Operation("suspend", "running", frozenset({"running", "suspended"}), (("file", "saved"),)),
    Operation("checkpoint", "running", frozenset({"running"}), (("file", "saved"),)),
    Operation("restore", "suspended", frozenset({"running", "suspended", "shutdown"}), (("file", "saved"),)),
]


@dataclass
class Trial:
    """One operation on one host, again and again, dying a little later each time."""

    house: House
    operation: Operation
    armed: Path

    @property
    def file(self) -> Path:
        return self.house.root / "saved"

    def given(self) -> dict[str, str]:
        return {key: str(self.house.root / value) if key == "file" else value for key, value in
                self.operation.given}  # fmt: skip

    def config(self) -> Path:
        disk = self.house.file("disk")
        return self.house.config(f"disk = {disk}:file:xvda:w:disk:", "v4v=true", cmdline="sim.ticks_s=0.02")

    async def state(self) -> str:
        return str(await self.house.call("get_status"))

    async def prepare(self) -> None:
        """Up to where the operation begins, by a monitor that dies of nothing and leaves."""
        self.house.silence()
        monitor = await self.house.monitor(self.config())
        if self.operation.begins != "shutdown":
            await self.house.call("start")
            await self.house.guest_is_up(self.house.domids()[0])
        if self.operation.begins == "suspended":
            await self.house.call("suspend", file=str(self.file))
        await self.house.kill(monitor)

    async def die_at(self, number: int) -> bool:
        """False when the operation ended before it came to that."""
        self.armed.unlink(missing_ok=True)
        monitor = self.house.launch_program([DYING, str(number), str(self.armed)], self.config())
        await self.house.until(lambda: self.house.bus.name_owner(xenvm_name(UUID)))
        await self.house.call("get_status")  # what was found is settled
        self.armed.touch()
        try:
            await self.house.call(self.operation.task, **self.given())
        except OpenxtError:
            assert await self.house.gone(monitor) == -9
            await self.house.until(self.house.is_absent)
            return True
        self.armed.unlink()
        return False

    async def recover(self) -> str:
        """What the next monitor makes of it, once it is done; it and Xen agree."""
        self.house.silence()
        await self.house.monitor(self.config())
        await self.house.until(self.is_settled)
        return await self.state()

    async def is_settled(self) -> bool:
        tasks = XenvmTasksClient(self.house.bus, xenvm_name(UUID), xenvm_path(UUID))
        status = await self.state()
        if {task["state"].value for task in await tasks.list_tasks()} & {"waiting", "running"}:
            return False
        here = len(self.house.domids())
        return status in self.operation.ends and here == (status == "running")

    async def check(self, status: str) -> None:
        """The guest lives if it should, nothing half written stays, the file is whole if it is needed."""
        told = self.house.silence()
        assert not told or told[-1] == f"vm:state:{status}" or status == "shutdown", told
        if status == "running":
            (domid,) = self.house.domids()
            info = self.house.xen.info(domid)
            assert info is not None
            assert not info.paused
            assert info.shutdown is None
            await self.house.guest_is_up(domid)
        assert not self.file.with_name("saved.part").exists()
        if status == "suspended" or (self.operation.task == "restore" and status == "shutdown"):
            await self.house.call("restore", file=str(self.file))
            assert await self.state() == "running"

    async def clean_up(self, before: dict[str, str | None]) -> None:
        await self.house.call("destroy")
        assert self.house.domids() == []
        assert await self.house.nodes() == before
        assert self.house.loops() == {}
        assert not self.house.record().exists()
        await self.house.call("quit")
        await self.house.until(self.house.is_absent)
        self.file.unlink(missing_ok=True)


@pytest.mark.proof
@pytest.mark.timeout(effort(120, 1200))
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.task)
async def test_killed_at_any_boundary_the_next_monitor_finishes_or_undoes(
    house: House, operation: Operation
) -> None:
    before = await house.nodes()
    trial = Trial(house, operation, house.root / "armed")
    tried = 0
    for number in itertools.count(1, EVERY):
        assert number < MOST
        await trial.prepare()
        died = await trial.die_at(number)
        status = await trial.recover() if died else await trial.state()
        await trial.check(status)
        await trial.clean_up(before)
        if not died:
            break
        tried += 1
    print(f"\n{operation.task}: killed at {tried} of about {number} boundaries")
    assert tried >= 1


async def test_the_file_of_a_suspend_that_was_killed_late_is_kept(house: House) -> None:
    """It was whole already: the domain is removed by the next monitor, and the VM is suspended."""
    trial = Trial(house, OPERATIONS[4], house.root / "armed")
    await trial.prepare()
    for number in itertools.count(4):
        assert await trial.die_at(number)
        if await asyncio.to_thread(trial.file.exists):
            break
        assert await trial.recover() == "running"
        await house.kill(house.monitors[-1])
    assert await trial.recover() == "suspended"
