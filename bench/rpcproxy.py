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

from harness import HERE, PROGRAMS, TURNS, Load, Missing, Promise, Room, on_bus

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


def write_rules(path: Path, allowed: str) -> None:
    bus = "org.freedesktop.DBus"
    others = [f"allow destination org.other.Name{number} interface a.b" for number in range(RULES - 4)]
    last = [f"allow destination {one} interface {one}" for one in (bus, allowed)]
    path.write_text("\n".join(["deny all", "allow out-any", *others, *last, ""]))


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
def our_proxy(room: Room, bus: Path, forward: Path, *options: str, allowed: str = ECHO) -> Iterator[Path]:
    """rpc-proxy for one guest; its own connection goes to a real bus, its clients' to `forward`."""
    folder = bus.parent
    write_rules(folder / "rules", allowed)
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


def page_ratios(room: Room, rounds: int) -> list[float]:
    """JSON texts through our proxy to a bus that takes no time, beside a server that sends texts back."""
    bus_name, database = "org.freedesktop.DBus", "com.citrix.xenclient.db"
    hello = page_text("1", bus_name, "Hello").replace('"/"', '"/org/freedesktop/DBus"')
    read = page_text("#######", database, "read", "/vm/0000/config/memory")
    found = []
    for _ in range(rounds):
        with ExitStack() as stack:
            bus = stack.enter_context(room.bus())
            fake, echo = bus.parent / "fake", bus.parent / "echo"
            stack.enter_context(room.service(room.build("fake_bus"), fake, ready="ready"))
            server = (PROGRAMS / "python", HERE / "echo_pages.py", echo)
            stack.enter_context(room.service(*server, ready="ready"))
            words = ("--json-in", "--websockets-in", "--auto-auth")
            ours = stack.enter_context(our_proxy(room, bus, fake, *words, allowed=database))
            pairs = [
                [room.page_rate(end, PAGE_CALLS, 64, hello, read) for end in (echo, ours)]
                for _ in range(TURNS)
            ]
            found.append(
                statistics.median(one for _, one in pairs) / statistics.median(one for one, _ in pairs)
            )
    return found


def page_text(number: str, service: str, method: str, *args: str) -> str:
    listed = ",".join(f'"{arg}"' for arg in args)
    where = f'"destination":"{service}","method":"{method}","path":"/","interface":"{service}"'
    return f'{{"id":{number},{where},"args":[{listed}]}}'


PAGE_CALLS = 6000
SEQUENTIAL, MANY = load(1, 3000), load(64, 20_000)
LARGE = load(2, 1000, BODY)  # two are what fits into a socket

PROMISES = (
    Promise("rpcproxy-1", 1.15, lambda room, rounds: against_peer(room, rounds, real_bus, SEQUENTIAL)),
    Promise("rpcproxy-added-p50", 1.25, added_time),
    Promise("rpcproxy-fake-64", 5.0, lambda room, rounds: against_peer(room, rounds, fake_bus, MANY)),
    Promise(
        "rpcproxy-direct-64", 0.93, lambda room, rounds: against_none(room, rounds, replace(MANY, calls=6000))
    ),
    Promise("rpcproxy-pages-64", 3.0, page_ratios),
    Promise("rpcproxy-64k", 1.4, lambda room, rounds: against_peer(room, rounds, fake_bus, LARGE)),
)
