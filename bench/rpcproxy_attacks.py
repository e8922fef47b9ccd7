# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest that attacks rpc-proxy costs another guest and dom0: the late calls (99th percentile) of both.

In a round bus and proxy are new, and calm comes before the attack: what is left of an attack when the
attacker has gone still takes the proxy's time.  What the attacker may send at once, as it rested before, is
over when the measurement begins.  What counts is the median of the round-by-round ratios.

The attacker has a processor of its own, as a VM has; bus, proxy and the two that work share one, where (as
far as we may) nothing else runs before them, and what happens while this machine's host takes it away is not
counted: else the late calls would be those for which the machine had no time.
"""

import itertools
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import HERE, Promise, Room
from rpcproxy import GUEST, Entered, started_proxy, until_there

from openxt_bus.codec import Message, encode
from openxt_core.places import Places

ATTACKERS = itertools.count(20)  # another domain each time: what the last one had is still on its way back
HOSTILE = HERE.parent / "tests" / "system" / "hostile_guest.py"
BUS = "org.freedesktop.DBus"
CALLS, PACE_S = 1000, 0.002  # of each of the two, each time
BLOCK = 50  # calls, between two looks at what was taken away
MOST = 4  # times as many calls are made, if many do not count
WARM_CALLS = 300
AT_ONCE_S = 1.0  # the burst that a rested guest is allowed is over then: measured is what lasts
READY_S = 30

ATTACKS = {
    "slow_reader": 3000,
    "unread_replies": 1000,
    "match_flood": 400,
    "name_flood": 100,
    "connections": 200,
    "maximal_messages": 1,
    "half_messages": 1,
    "auth_stalls": 1,
    "header_lies": 1,
    "serial_reuse": 1,
    "forged_replies": 2000,
    "hello_twice": 1,
    "new_headers": 32,
}
"""Attack of tests/system/hostile_guest.py → its size."""


@dataclass(frozen=True)
class Scene:
    port: Path
    guest: socket.socket
    dom0: socket.socket
    cpu: int
    attacker_cpu: int


@contextmanager
def first_served() -> Iterator[None]:
    """We, and programs started meanwhile, run before any other program.  Without the right to: as usual."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        print("bench: not root; other programs disturb what is measured", file=sys.stderr)
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def scene(room: Room) -> Iterator[Scene]:
    with ExitStack() as stack:
        stack.enter_context(first_served())
        bus = stack.enter_context(room.bus())
        options = ("--limit", "messages-per-s=10000", "--limit", "burst=20000")
        stack.enter_context(started_proxy(room, bus, bus, "v4v:5555", BUS, *options))
        port = Places.of({"OPENXT_ROOT": str(bus.parent)}).v4v / "0" / "5555"
        until_there(port)
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {room.cpu})
        try:
            yield Scene(port, entered(port, GUEST), entered(bus, None), room.cpu, min(before - {room.cpu}))
        finally:
            os.sched_setaffinity(0, before)


def entered(port: Path, domid: int | None) -> socket.socket:
    """A connection on which nothing but answers comes any more."""
    one = Entered(port, domid)
    while b"NameAcquired" not in one.greeting:
        one.greeting += one.sock.recv(4096)
    return one.sock


def stolen(cpu: int) -> int:
    """How long the host of this machine had that processor for others, in the kernel's ticks."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{cpu} "):
            return int(line.split()[8])
    return 0


def late_us(here: Scene, calls: int = CALLS) -> list[float]:
    """What no more than one call in a hundred takes longer than: of the guest, of dom0."""
    took: tuple[list[float], list[float]] = [], []
    for _ in range(MOST * calls // BLOCK):
        before = stolen(here.cpu)
        block = times_us(here.guest, here.dom0)
        if stolen(here.cpu) == before:
            for all_times, times in zip(took, block, strict=True):
                all_times += times
        if len(took[0]) >= calls:
            break
    return [statistics.quantiles(times, n=100)[98] for times in took]


def times_us(*socks: socket.socket) -> list[list[float]]:
    """Of a block of calls on each of these connections.

    Calls are due at a steady pace, and the time of one that begins late counts from then: else a standstill
    would hit a single call, and not be seen among thousands.
    """
    took: list[list[float]] = [[] for _ in socks]
    fields = {1: "/org/freedesktop/DBus", 2: BUS, 3: "GetNameOwner", 6: BUS, 8: "s"}
    due = time.perf_counter()
    for serial in range(2, BLOCK + 2):
        call = encode(Message(1, serial, fields, (BUS,)))
        due += PACE_S
        time.sleep(max(0.0, due - time.perf_counter()))
        for sock, times in zip(socks, took, strict=True):
            start = time.perf_counter()
            start = due if start > due + PACE_S else start
            sock.sendall(call)
            assert sock.recv(4096)
            times.append(1e6 * (time.perf_counter() - start))
    return took


@contextmanager
def attacked(here: Scene, attack: str) -> Iterator[None]:
    """From the attack's height on, until the block ends."""
    words = [str(HOSTILE), attack, str(here.port), str(next(ATTACKERS)), str(ATTACKS[attack])]
    process = subprocess.Popen(
        ["taskset", "-c", str(here.attacker_cpu), sys.executable, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not process.stdout.readline().startswith("on "):
            raise RuntimeError(f"{attack} did not get that far")
        time.sleep(AT_ONCE_S)
        yield
    finally:
        process.stdin.close()
        process.wait(READY_S)


def under_attack(room: Room, rounds: int, attack: str) -> list[float]:
    """Late calls in peace to late ones under attack, for whom of the two it is worse."""
    found = []
    for _ in range(rounds):
        with scene(room) as here:
            late_us(here, WARM_CALLS)
            calm = late_us(here)
            with attacked(here, attack):
                found.append(min(map(float.__truediv__, calm, late_us(here))))
    return found


PROMISES = tuple(
    Promise(
        f"rpcproxy-under-{attack.replace('_', '-')}",
        0.5,
        lambda room, rounds, attack=attack: under_attack(room, rounds, attack),
    )
    for attack in ATTACKS
)
