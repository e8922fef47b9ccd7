# SPDX-License-Identifier: GPL-2.0-or-later
"""rpc-proxy beside xdg-dbus-proxy, its peer in C, and beside no proxy at all.

Each has a hundred rules of which the last counts; ours has a guest on the client's side, with budgets, reply
tracking and the simulated host's XenStore.  `fake` stands for a bus that takes no time.
"""

import os
import shutil
import socket
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness import PROGRAMS, TURNS, Load, Missing, Promise, Room, on_bus

ECHO = "org.openxt.bench.Echo"
RULES = 100
GUEST = 7
BODY = "x" * (64 * 1024)


@dataclass(frozen=True)
class Ends:
    """Sockets of one round: no proxy, the C proxy, ours."""

    direct: Path
    peer: Path
    ours: Path


def until_there(path: Path) -> None:
    """A program that listens at `path` was started; returns when it does."""
    for _ in range(1000):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        os.sched_yield()
        subprocess.run(["sleep", "0.01"], check=True)
    raise RuntimeError(f"nobody listens at {path}")


def write_rules(path: Path) -> None:
    bus = "org.freedesktop.DBus"
    others = [f"allow destination org.other.Name{number} interface a.b" for number in range(RULES - 4)]
    allowed = [f"allow destination {bus} interface {bus}", f"allow destination {ECHO} interface {ECHO}"]
    path.write_text("\n".join(["deny all", "allow out-any", *others, *allowed, ""]))


@contextmanager
def simulated_host(room: Room, bus: Path) -> Iterator[dict[str, str]]:
    """A XenStore; gives the environment for it."""
    folder = bus.parent
    environ = {**on_bus(bus), "OPENXT_ROOT": str(folder), "XENSTORED_PATH": f"{folder}/xenstored"}
    program = f'echo started; exec "{PROGRAMS}/openxt-sim" --dir "{folder}"'
    with room.service("sh", "-c", program, ready="started", environ=environ):
        until_there(folder / "xenstored")
        yield environ


@contextmanager
def our_proxy(room: Room, bus: Path, forward: Path, *options: str) -> Iterator[Path]:
    """rpc-proxy for one guest; its own connection goes to a real bus, its clients' to `forward`."""
    folder = bus.parent
    write_rules(folder / "rules")
    path = folder / "ours"
    with simulated_host(room, bus) as environ:
        argv = [
            *(f"unix:{path}", "-o", f"unix:{forward}", "-r", str(folder / "rules"), "-d", str(GUEST)),
            *("--limit", "messages-per-s=10000000", "--limit", "burst=10000000", *options),
        ]
        program = f'echo started; exec "{PROGRAMS}/rpc-proxy" -i "$@"'
        with room.service("sh", "-c", program, "sh", *argv, ready="started", environ=environ):
            until_there(path)
            yield path


@contextmanager
def peer_proxy(room: Room, bus: Path, forward: Path) -> Iterator[Path]:
    if not shutil.which("xdg-dbus-proxy"):
        raise Missing("xdg-dbus-proxy is needed: apt install xdg-dbus-proxy")
    path = bus.parent / "peer"
    names = [f"--talk=org.other.Name{number}" for number in range(RULES - 1)]
    argv = ["xdg-dbus-proxy", f"unix:path={forward}", str(path), "--filter", *names, f"--talk={ECHO}"]
    with room.service("sh", "-c", 'echo started; exec "$@"', "sh", *argv, ready="started"):
        until_there(path)
        yield path


@contextmanager
def real_bus(room: Room) -> Iterator[Ends]:
    """A message bus and a C service on it."""
    with ExitStack() as stack:
        bus = stack.enter_context(room.bus())
        service = room.build("echo_service", "systemd")
        stack.enter_context(room.service(service, ready="ready", environ=on_bus(bus)))
        peer = stack.enter_context(peer_proxy(room, bus, bus))
        yield Ends(bus, peer, stack.enter_context(our_proxy(room, bus, bus)))


@contextmanager
def fake_bus(room: Room) -> Iterator[Ends]:
    with ExitStack() as stack:
        bus = stack.enter_context(room.bus())
        fake = bus.parent / "fake"
        stack.enter_context(room.service(room.build("fake_bus"), fake, ready="ready"))
        peer = stack.enter_context(peer_proxy(room, bus, fake))
        yield Ends(fake, peer, stack.enter_context(our_proxy(room, bus, fake)))


def load(depth: int, calls: int, argument: str = "/vm/0000/config/memory") -> Load:
    return Load(ECHO, "/", ECHO, "read", (argument,), calls, depth)


def rates(room: Room, ends: Ends, one: Load) -> Iterator[tuple[float, float, float]]:
    """Calls per second: direct, through the peer, through ours; in turn."""
    for _ in range(TURNS):
        yield room.rate(ends.direct, one), room.rate(ends.peer, one), room.rate(ends.ours, one)


def against_peer(room: Room, rounds: int, where: object, one: Load) -> list[float]:
    found = []
    for _ in range(rounds):
        with where(room) as ends:  # type: ignore[operator]  # real_bus or fake_bus
            _, peer, ours = zip(*rates(room, ends, one), strict=True)
            found.append(statistics.median(ours) / statistics.median(peer))
    return found


def against_none(room: Room, rounds: int, one: Load) -> list[float]:
    found = []
    for _ in range(rounds):
        with real_bus(room) as ends:
            pairs = [(room.rate(ends.direct, one), room.rate(ends.ours, one)) for _ in range(TURNS)]
            direct, ours = zip(*pairs, strict=True)
            found.append(statistics.median(ours) / statistics.median(direct))
    return found


def added_time(room: Room, rounds: int) -> list[float]:
    """What the peer adds to the median time of a call, divided by what we add."""
    one = load(1, 3000)
    found = []
    for _ in range(rounds):
        with real_bus(room) as ends:
            times = [
                [room.median_us(end, one) for end in (ends.direct, ends.peer, ends.ours)]
                for _ in range(TURNS)
            ]
            direct, peer, ours = (statistics.median(column) for column in zip(*times, strict=True))
            found.append((peer - direct) / (ours - direct))
    return found


SEQUENTIAL, MANY = load(1, 3000), load(64, 20_000)
LARGE = load(2, 1000, BODY)  # two are what fits into a socket

PROMISES = (
    Promise("rpcproxy-1", 1.15, lambda room, rounds: against_peer(room, rounds, real_bus, SEQUENTIAL)),
    Promise("rpcproxy-added-p50", 1.25, added_time),
    Promise("rpcproxy-fake-64", 5.0, lambda room, rounds: against_peer(room, rounds, fake_bus, MANY)),
    Promise(
        "rpcproxy-direct-64", 0.93, lambda room, rounds: against_none(room, rounds, replace(MANY, calls=6000))
    ),
    Promise("rpcproxy-64k", 1.4, lambda room, rounds: against_peer(room, rounds, fake_bus, LARGE)),
)
