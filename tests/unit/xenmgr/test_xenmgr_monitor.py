# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a VM's monitor is there, when it comes or goes, or somebody else asks, while that is found out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openxt_core.errors import IoError
from openxt_core.ids import Uuid
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.tasks import Background
from openxt_xenmgr.vm.monitor import Monitors, write_config
from openxt_xenmgr.vm.queue import EventQueue

MONITOR = ":1.7"


class OneNameBus:
    """Knows one name, and says who owns it when it may."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.may_answer = asyncio.Event()
        self.changed: list[Callable[[str, str], None]] = []

    async def follow_name(self, _name: str, callback: Callable[[str, str], None]) -> tuple[object, str]:
        self.changed.append(callback)
        await self.may_answer.wait()
        return object(), self.owner


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
    await asyncio.sleep(0)  # one turn: each has begun and waits; the answer is not there before `may_answer`
    bus.may_answer.set()
    assert await asyncio.gather(*asking) == [True, True, True]
    assert len(bus.changed) == 1


def test_a_configuration_that_cannot_be_put_in_place_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()  # which no file can replace
    with pytest.raises(IoError):
        write_config(tmp_path / "config", ["memory=64"])
    assert [path.name for path in tmp_path.iterdir()] == ["config"]
