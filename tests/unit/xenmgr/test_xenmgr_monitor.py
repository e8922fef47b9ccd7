# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a VM's monitor is there, when it comes or goes, or somebody else asks, while that is found out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from openxt_core.ids import Uuid
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.tasks import Background
from openxt_xenmgr.vm.monitor import Monitors
from openxt_xenmgr.vm.queue import EventQueue

MONITOR = ":1.7"


class Watching:
    async def close(self) -> None:
        pass


@dataclass
class OneNameBus:
    """Knows one name.  It answers when it may; `late` comes right behind its answer, before that is read."""

    owner: str | None
    late: str | None = None
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    changed: list[Callable[[str, str], None]] = field(default_factory=list)

    async def watch_name(self, _name: str, callback: Callable[[str, str], None]) -> Watching:
        self.changed.append(callback)
        return Watching()

    async def name_owner(self, _name: str) -> str | None:
        await self.may_answer.wait()
        if self.late is not None:
            for tell in self.changed:
                tell(self.owner or "", self.late)
        return self.owner


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    made = Background()
    yield made
    await made.close()


def monitors(bus: OneNameBus, background: Background) -> Monitors:
    world: Any = SimpleNamespace(bus=bus, background=background)
    made = Monitors(world, EventQueue(background))
    made.on_lost = made.on_found = lambda _: None
    return made


async def test_all_who_ask_at_once_whether_it_is_there_hear_the_same(background: Background) -> None:
    bus = OneNameBus(MONITOR)
    asked, vm = monitors(bus, background), Vm(Uuid("00000000-0000-0000-0000-0000000000a1"))
    asking = [asyncio.create_task(asked.attach(vm)) for _ in range(3)]
    await asyncio.sleep(0)
    bus.may_answer.set()
    assert await asyncio.gather(*asking) == [True, True, True]
    assert len(bus.changed) == 1


@pytest.mark.parametrize(("owner", "late"), [(None, MONITOR), (MONITOR, ""), (MONITOR, ":1.8")])
async def test_what_comes_behind_the_answer_counts_more(
    background: Background, owner: str | None, late: str
) -> None:
    bus = OneNameBus(owner, late)
    bus.may_answer.set()
    asked, vm = monitors(bus, background), Vm(Uuid("00000000-0000-0000-0000-0000000000a1"))
    assert await asked.attach(vm) is (late != "")
    assert vm.monitor == late
