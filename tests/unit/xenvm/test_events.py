# SPDX-License-Identifier: GPL-2.0-or-later
"""What a monitor does about the news of XenStore: it looks once at what was told many times meanwhile."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from openxt_core.errors import Unavailable
from openxt_core.ids import Domid, Uuid
from openxt_xen.xenstore import paths
from openxt_xenvm import events
from openxt_xenvm.events import DomainWatch, watched_nodes
from openxt_xenvm.fate import Fate
from openxt_xenvm.notify import Notice
from openxt_xenvm.site import Host

UUID = Uuid("00000000-0000-0000-0000-0000000000a1")
DOMID = Domid(7)
CLOCK = f"{paths.vm(UUID)}/rtc/timeoffset"
ALIVE = SimpleNamespace(uuid=UUID, dying=False, shutdown=None)


class Xen:
    """Answers what was so when it was asked, but only when it is let."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.asked = 0
        self.answer: object = ALIVE

    def info(self, _: Domid) -> object:
        answer, self.asked = self.answer, self.asked + 1
        self.may_answer.wait(10)
        return answer


class Store:
    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[[str], None]] = {}
        self.values: dict[str, str] = {}
        self.fails: Unavailable | None = None

    async def watch(self, path: str, callback: Callable[[str], None]) -> Any:
        self.callbacks[path] = callback
        return SimpleNamespace(close=self._closed)

    async def _closed(self) -> None: ...

    async def read(self, path: str) -> str | None:
        if self.fails:
            raise self.fails
        return self.values.get(path)

    def tell(self, path: str) -> None:
        self.callbacks[path](path)


class Bench:
    def __init__(self) -> None:
        self.xen, self.store = Xen(), Store()
        self.told: list[Notice] = []
        self.ended: list[Fate] = []
        host = Host(cast(Any, self.xen), cast(Any, self.store), Path("/lock"), cast(Any, None))
        self.watch = DomainWatch(host, UUID, self.told.append, lambda _, fate: self.ended.append(fate))

    async def follow(self, *local: str) -> None:
        await self.watch.follow(DOMID, watched_nodes(DOMID, UUID, local, ()))

    async def write(self, path: str, value: str) -> None:
        self.store.values[path] = value
        self.store.tell(path)
        for _ in range(5):
            await asyncio.sleep(0)  # turns of the loop, for whoever looks

    def texts(self) -> list[str]:
        return [notice.message for notice in self.told]

    async def until_asked(self, times: int) -> None:
        async with asyncio.timeout(10):
            while self.xen.asked < times:
                await asyncio.sleep(0)  # a turn of the loop


async def test_the_ends_of_many_domains_meanwhile_are_one_question() -> None:
    bench = Bench()
    await bench.follow()
    bench.store.tell(paths.RELEASE_DOMAIN)
    await bench.until_asked(1)
    for _ in range(60):
        bench.store.tell(paths.RELEASE_DOMAIN)
    bench.store.values[CLOCK] = "5"
    bench.store.tell(CLOCK)
    bench.xen.may_answer.set()
    async with asyncio.timeout(10):
        while not bench.told:  # the clock is behind the second question
            await asyncio.sleep(0)  # a turn of the loop
    assert bench.xen.asked == 2
    assert bench.ended == []
    await bench.watch.forget()


async def test_an_end_while_xen_is_asked_is_looked_at_again() -> None:
    bench = Bench()
    await bench.follow()
    bench.store.tell(paths.RELEASE_DOMAIN)
    await bench.until_asked(1)
    bench.store.tell(paths.RELEASE_DOMAIN)
    bench.xen.answer = None
    bench.xen.may_answer.set()
    assert await bench.watch.fate is Fate.VANISHED
    assert bench.ended == [Fate.VANISHED]
    await bench.watch.forget()


POWER = f"{paths.domain(DOMID)}/power-state"


async def test_a_node_that_changes_all_the_time_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """And holds up nobody: neither another node nor the domain's end."""
    monkeypatch.setattr(events, "NODE_PAUSE_S", 3600)
    bench = Bench()
    bench.xen.may_answer.set()
    await bench.follow("power-state")
    for number in range(50):
        await bench.write(POWER, str(number))
    await bench.write(CLOCK, "5")
    assert bench.texts() == ["power-state:0", "rtc:5"]
    bench.xen.answer = None
    bench.store.tell(paths.RELEASE_DOMAIN)
    assert await bench.watch.fate is Fate.VANISHED
    assert bench.texts() == ["power-state:0", "rtc:5", "power-state:49"]
    await bench.watch.forget()


async def test_the_last_value_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "NODE_PAUSE_S", 0.01)
    bench = Bench()
    await bench.follow("power-state")
    for number in range(50):
        await bench.write(POWER, str(number))
    async with asyncio.timeout(10):
        while bench.texts()[-1:] != ["power-state:49"]:
            await asyncio.sleep(0.001)
    await bench.watch.forget()


async def test_a_node_that_cannot_be_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "RETRY_S", 0.01)
    monkeypatch.setattr(events, "NODE_PAUSE_S", 0)
    bench = Bench()
    await bench.follow("power-state")
    bench.store.fails = Unavailable("XenStore does not answer")
    await bench.write(POWER, "3")
    bench.store.fails = None
    async with asyncio.timeout(10):
        while bench.texts() != ["power-state:3"]:
            await asyncio.sleep(0.001)
    await bench.watch.forget()
