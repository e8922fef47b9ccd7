# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile guests, each from a process of its own, while another guest and dom0 work.

The others' calls are all answered; the proxy's memory stays within the budget; the log tells of each attack
once.  `make proof` prints the times of the others' calls beside those without an attack.  The proxy judges a
flood as fast as it can here, so that what an attack needs many messages for is soon there.
"""

import asyncio
import contextlib
import itertools
import statistics
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from rpcproxy_house import World, guest_world

from effort import effort
from openxt_bus.connection import BUS_PATH, Bus
from openxt_bus.loglimit import PERIOD_S
from openxt_bus.matching import BUS_NAME
from openxt_core.ids import Domid

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAM = Path(__file__).with_name("hostile_guest.py")
CALLS = effort(40, 3000)
ROOM_KIB = 64 * 1024  # the budget of a domain, and as much for what Python keeps
TOLD_S = 30
PROXY, PORT = "attacked", 5556
SOON = ("--limit", "judged-per-s=100000", "--limit", "judged-burst=100000")
NEIGHBOUR = Domid(11)
domids = map(Domid, itertools.count(20))


@dataclass(frozen=True)
class Case:
    """What an attack sees, and what the log says of it, once, or so often."""

    attack: str
    sees: str
    logged: str
    count: int = 1000
    lines: int = 1


UNREAD = 7500  # calls: more than are answered, open and on their way when the proxy stops reading
FLOOD = "more than 20 lines in 10 s"
CASES = (
    Case("slow_reader", "signals", "bytes wait until it reads", effort(10_000, 100_000)),
    Case("unread_replies", "stalled after", "more than 2048 open calls", UNREAD),
    Case("match_flood", "LimitsExceeded", "more than 256 match rules", effort(400, 20_000)),
    Case("name_flood", "LimitsExceeded", "more than 64 names", effort(100, 2000)),
    Case("connections", "32 open", "more than 32 connections", effort(100, 10_000)),
    Case("maximal_messages", "LimitsExceeded", "more than 33554432 held bytes"),
    Case("half_messages", "30 halves", FLOOD),
    Case("auth_stalls", "30 stalls", FLOOD),
    Case("header_lies", "11 cut off", "ended: ", lines=11),
    Case("serial_reuse", "LimitsExceeded", "a call with serial 77 is open already"),
    Case("forged_replies", "'': 1", FLOOD, effort(200, 20_000)),
    Case("hello_twice", "Failed", "Hello once more"),
    Case("new_headers", "31 connections", FLOOD, 32),
)


@dataclass
class Scene:
    world: World
    guest: Bus


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    async with guest_world() as world:
        await world.start_proxy(PROXY, "-i", f"v4v:{PORT}", *SOON)
        guest = await Bus.connect(f"unix:path={relayed(world)}")
        try:
            await p99_ms(guest)
            yield Scene(world, guest)
        finally:
            guest.close()


def relayed(world: World) -> Path:
    """The neighbour's own port."""
    return world.house.layout.places.run / "guests" / "8" / str(PORT)


def proxy_socket(world: World) -> Path:
    return world.house.layout.places.v4v / "0" / str(PORT)


async def p99_ms(bus: Bus) -> float:
    """Of calls that are all answered."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        assert await bus.call(BUS_NAME, BUS_PATH, BUS_NAME, "GetNameOwner", "s", (BUS_NAME,)) == [BUS_NAME]
        times.append(1000 * (time.perf_counter() - start))
    return statistics.quantiles(times, n=100)[98]


def rss_kib(world: World) -> int:
    pid = world.house.supervisor.supervised[PROXY].pid
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("the proxy has ended")


@contextlib.asynccontextmanager
async def attacked(world: World, case: Case, domid: Domid) -> AsyncIterator[str]:
    """What the attack saw when it was at its height; it goes on until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, PROGRAM, case.attack, proxy_socket(world), str(domid), str(case.count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        assert line.startswith("on "), f"{case.attack} did not get that far"
        yield line
    finally:
        process.stdin.close()
        await process.wait()


async def told(world: World, domid: Domid, case: Case) -> list[str]:
    """The log's lines of that domain, once what they must tell is there: what ends may be told of last."""
    async with asyncio.timeout(TOLD_S):
        while True:
            log = [line for line in world.house.log(PROXY).splitlines() if f"domain {domid}" in line]
            if len([line for line in log if case.logged in line]) >= case.lines:
                return log
            await asyncio.sleep(0.05)


@pytest.mark.proof
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.attack)
async def test_an_attack_hurts_nobody_else(
    scene: Scene, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    world, domid = scene.world, next(domids)
    before, calm = rss_kib(world), await p99_ms(scene.guest)
    began = time.monotonic()
    async with attacked(world, case, domid) as seen:
        assert case.sees in seen
        guests, dom0s = await p99_ms(scene.guest), await p99_ms(world.house.bus)
        grown = rss_kib(world) - before
    log = await told(world, domid, case)
    if effort(0, 1):
        with capsys.disabled():
            times = f"p99 {calm:.2f} → {guests:.2f} ms, dom0 {dom0s:.2f} ms"
            print(f"\n{case.attack}: {times}, memory +{grown} KiB, {len(log)} lines; {seen.strip()}")
    assert grown < ROOM_KIB
    periods = 1 + (time.monotonic() - began) // PERIOD_S
    assert len(log) <= 25 * periods  # so many lines of one domain in each
    assert len([line for line in log if case.logged in line]) == case.lines


async def test_what_an_attacker_had_is_given_back(scene: Scene) -> None:
    """After a flood of names another connection of the same domain may own some again."""
    domid = next(domids)
    case = Case("name_flood", "LimitsExceeded", "", count=100)
    async with attacked(scene.world, case, domid):
        pass
    async with attacked(scene.world, case, domid) as seen:
        assert "'': 64" in seen
