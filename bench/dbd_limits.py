# SPDX-License-Identifier: GPL-2.0-or-later
"""What dbd's work must not depend on: how many VMs there are, how long it has run, what full guests do.

Ratios as everywhere: what is wanted in the numerator, more is better.  Work is counted in CPU time, so that
a slow disk or a busy machine does not count.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbd import DBD, READ, VMS, WRITE, running_dbd
from guests import guest_uuid
from harness import HERE, PROGRAMS, Load, Promise, Room
from rpcproxy import simulated_host, until_there, write_rules

from openxt_bus.blocking import BlockingBus
from openxt_core.places import Places

FLUSHES = 150
FEW_VMS = 10
STARTUP_CPU_S = 0.5
OPERATIONS = 1_000_000
WARM_UP_OPERATIONS = 800_000  # until the history of every VM is full and was tidied up a few times
GUESTS = 100
PAUSE_S = 1.0  # after three calls: 300 calls a second of all
DOM0_CALLS = 100_000  # seconds: files are saved meanwhile


def cpu_s(pid: int) -> float:
    """CPU time of all threads of a process so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def rss_kib(pid: int) -> int:
    fields = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in fields if line.startswith("VmRSS:"))


@contextmanager
def dbd_on_a_bus(room: Room, vms: int = VMS) -> Iterator[tuple[Path, int]]:
    """The bus's socket, and dbd's process."""
    with room.bus() as bus, running_dbd(room, bus, vms):
        yield bus, pid_of_dbd(bus)


def pid_of_dbd(bus: Path) -> int:
    client = BlockingBus(f"unix:path={bus}")
    name = "org.freedesktop.DBus"
    try:
        return int(client.call(name, "/", name, "GetConnectionUnixProcessID", "s", (DBD,))[0])
    finally:
        client.close()


# A flush after one changed VM


def flush_cpu_s(room: Room, vms: int) -> float:
    """CPU time of a write and a flush, where there are so many VMs."""
    with dbd_on_a_bus(room, vms) as (bus, pid):
        client = BlockingBus(f"unix:path={bus}")
        before = 0.0
        for number in range(FLUSHES + 10):
            if number == 10:
                before = cpu_s(pid)
            path = READ[0].replace("###", "003")
            client.call(DBD, "/", DBD, "write", "ss", (path, str(number)))
            client.call(DBD, "/", f"{DBD}.admin", "sync", "", ())
        client.close()
        return (cpu_s(pid) - before) / FLUSHES


def flush_ratios(room: Room, rounds: int) -> list[float]:
    return [flush_cpu_s(room, FEW_VMS) / flush_cpu_s(room, VMS) for _ in range(rounds)]


# Start-up


def startup_ratios(room: Room, rounds: int) -> list[float]:
    """Interpreter, modules and 1000 VMs, until calls are answered."""
    found = []
    for _ in range(rounds):
        with dbd_on_a_bus(room) as (_, pid):
            found.append(STARTUP_CPU_S / cpu_s(pid))
    return found


# Memory


def memory_ratios(room: Room, _rounds: int) -> list[float]:
    """Once, however many rounds: it takes long, and is the same each time."""
    with dbd_on_a_bus(room) as (bus, pid):
        operate(room, bus, WARM_UP_OPERATIONS)
        before = rss_kib(pid)
        operate(room, bus, OPERATIONS)
        return [before / rss_kib(pid)]


def operate(room: Room, bus: Path, count: int) -> None:
    for member, arguments in (("read", READ), ("write", WRITE)):
        room.rate(bus, Load(DBD, "/", DBD, member, arguments, count // 2, 64))


# Guests


def guest_ratios(room: Room, rounds: int) -> list[float]:
    """dom0's 99th percentile without guests, to the one with guests whose dom-stores are full.

    All of dom0 shares one CPU: bus, dbd, the proxy and the client that is measured.  The guests have another.
    """
    load = Load(DBD, "/", DBD, "read", READ, DOM0_CALLS, 1)
    found = []
    for _ in range(rounds):
        with room.bus() as bus, guests_of_a_proxy(room, bus):
            alone = room.late_us(bus, load)
            Path(f"{bus}.go").touch()
            found.append(alone / room.late_us(bus, load))
    return found


def fill_stores(root: Path) -> None:
    """Each guest has as many values as it may have, and hardly room for a longer one."""
    folder = root / "config" / "dom-store"
    folder.mkdir(exist_ok=True)
    values = {f"k{number}": "x" * 1000 for number in range(1000)}
    for domid in range(1, GUESTS + 1):
        (folder / f"{guest_uuid(domid)}.db").write_text(json.dumps(values, indent=2) + "\n")


@contextmanager
def guests_of_a_proxy(room: Room, bus: Path) -> Iterator[None]:
    """dbd, and full guests that wait for a word at the ports of an rpc-proxy; not on the CPU of dom0."""
    port = Places.of({"OPENXT_ROOT": str(bus.parent)}).v4v / "0" / "5555"
    with simulated_host(room, bus) as environ, running_dbd(room, bus, more=environ, prepare=fill_stores):
        write_rules(bus.parent / "rules", DBD)
        words = ("-i", "v4v:5555", "-o", f"unix:{bus}", "-r", bus.parent / "rules")
        proxy = ("sh", "-c", f'echo started; exec "{PROGRAMS}/rpc-proxy" "$@"', "sh", *words)
        with room.service(*proxy, ready="started", environ=environ):
            until_there(port)
            program = (sys.executable, HERE / "guests.py", port, GUESTS, f"{bus}.go", PAUSE_S)
            command = [*room.elsewhere(), *map(str, program)]
            with subprocess.Popen(
                command, env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True
            ) as guests:
                assert guests.stdout is not None
                assert guests.stdout.readline() == "full\n", "the guests did not start"
                try:
                    yield
                finally:
                    guests.terminate()


PROMISES = (
    Promise("dbd-flush-1000-vms", 0.8, flush_ratios),
    Promise("dbd-startup-cpu", 1.0, startup_ratios),
    Promise("dbd-memory-flat", 0.95, memory_ratios),
    Promise("dbd-full-guests", 0.5, guest_ratios),
)
