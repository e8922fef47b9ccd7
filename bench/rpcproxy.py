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

from openxt_bus.codec import Message, encode
from openxt_bus.transport.hello import HELLO, MAGIC
from openxt_core.places import Places

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
    environ = {
        **on_bus(bus),
        "OPENXT_ROOT": str(folder),
        "OPENXT_V4V": "unix",
        "XENSTORED_PATH": f"{folder}/xenstored",
    }
    program = f'echo started; exec "{PROGRAMS}/openxt-sim" --dir "{folder}"'
    with room.service("sh", "-c", program, ready="started", environ=environ):
        until_there(folder / "xenstored")
        yield environ


@contextmanager
def our_proxy(room: Room, bus: Path, forward: Path, *options: str, allowed: str = ECHO) -> Iterator[Path]:
    """rpc-proxy for one guest; its own connection goes to a real bus, its clients' to `forward`."""
    path = bus.parent / "ours"
    with started_proxy(room, bus, forward, f"unix:{path}", allowed, "-d", str(GUEST), *options):
        until_there(path)
        yield path


@contextmanager
def started_proxy(
    room: Room, bus: Path, forward: Path, listen: str, allowed: str, *options: str
) -> Iterator[int]:
    """Its process id; that it listens already is not said."""
    folder = bus.parent
    write_rules(folder / "rules", allowed)
    with simulated_host(room, bus) as environ:
        argv = [
            *(listen, "-o", f"unix:{forward}", "-r", str(folder / "rules")),
            *("--limit", "messages-per-s=10000000", "--limit", "burst=10000000", *options),
        ]
        program = f'echo started; exec "{PROGRAMS}/rpc-proxy" -i "$@"'
        with room.service("sh", "-c", program, "sh", *argv, ready="started", environ=environ) as process:
            yield process.pid


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


class Entered:
    """A connection to a bus, or a domain's to our proxy at `port`, that has said Hello."""

    def __init__(self, port: Path, domid: int | None) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(port))
        who = b"" if domid is None else HELLO.pack(MAGIC, domid, 1)
        self.sock.sendall(who + b"\0AUTH EXTERNAL %b\r\n" % str(os.getuid()).encode().hex().encode())
        assert self.sock.recv(200).startswith(b"OK")
        fields = {
            1: "/org/freedesktop/DBus",
            2: "org.freedesktop.DBus",
            3: "Hello",
            6: "org.freedesktop.DBus",
        }
        self.sock.sendall(b"BEGIN\r\n" + encode(Message(1, 1, fields)))
        self.greeting = self.sock.recv(4096)
        assert self.greeting


class Guests:
    """Guests with two connections each, by plain sockets."""

    def __init__(self, port: Path, count: int, first: int = 100) -> None:
        """`first`: the first one's domid."""
        self._sockets = [Entered(port, first + number // 2).sock for number in range(2 * count)]

    def call(self, times: int) -> None:
        """Each connection calls so often, one call at a time."""
        for serial in range(2, times + 2):
            fields = {1: "/", 2: ECHO, 3: "read", 6: ECHO, 8: "s"}
            call = encode(Message(1, serial, fields, ("/vm/0000/config/memory",)))
            for sock in self._sockets:
                sock.sendall(call)
            for sock in self._sockets:
                assert sock.recv(4096)

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


def cpu_s(pid: int) -> float:
    """Of its main thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def costs(room: Room, guests: int) -> tuple[float, float]:
    """Memory (KiB) a guest and CPU (s) a call, with so many guests."""
    with ExitStack() as stack:
        bus = stack.enter_context(room.bus())
        fake = bus.parent / "fake"
        stack.enter_context(room.service(room.build("fake_bus"), fake, ready="ready"))
        pid = stack.enter_context(started_proxy(room, bus, fake, "v4v:5555", ECHO))
        port = Places.of({"OPENXT_ROOT": str(bus.parent)}).v4v / "0" / "5555"
        until_there(port)
        warm = Guests(port, FIRST_GUESTS, 1000)
        warm.call(20)
        before = memory_kib(pid)
        one = Guests(port, guests)
        one.call(10)
        grown, since = memory_kib(pid) - before, cpu_s(pid)
        times = GUESTS_CALLS // guests
        one.call(times)
        spent = cpu_s(pid) - since
        one.close()
        warm.close()
        return grown / guests, spent / (times * 2 * guests)


def linear(room: Room, rounds: int, which: int) -> list[float]:
    """What one of 100 guests costs, to what one of 200 does."""
    return [costs(room, 100)[which] / costs(room, 200)[which] for _ in range(rounds)]


PAGE_CALLS = 6000
FIRST_GUESTS = 50  # that use up the memory that start-up left free
GUESTS_CALLS = 40_000  # of all guests, on each of their connections
SEQUENTIAL, MANY = load(1, 3000), load(64, 20_000)
LARGE = load(2, 1000, BODY)  # two are what fits into a socket

PROMISES = (
    Promise("rpcproxy-1", 1.15, lambda room, rounds: against_peer(room, rounds, real_bus, SEQUENTIAL)),
    Promise("rpcproxy-added-p50", 1.25, added_time),
    Promise("rpcproxy-fake-64", 5.0, lambda room, rounds: against_peer(room, rounds, fake_bus, MANY)),
    Promise(
        "rpcproxy-direct-64", 0.93, lambda room, rounds: against_none(room, rounds, replace(MANY, calls=6000))
    ),
    Promise("rpcproxy-guests-memory", 0.9, lambda room, rounds: linear(room, rounds, 0)),
    Promise("rpcproxy-guests-cpu", 0.9, lambda room, rounds: linear(room, rounds, 1)),
    Promise("rpcproxy-pages-64", 3.0, page_ratios),
    Promise("rpcproxy-64k", 1.4, lambda room, rounds: against_peer(room, rounds, fake_bus, LARGE)),
)
