# SPDX-License-Identifier: GPL-2.0-or-later
"""What a thousand VMs cost xenmgr: CPU time of its start, memory, and calls that must not look at each VM.

Ratios as everywhere: what is promised in the numerator, or the case that may cost less; more is better.
"""

import json
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dbd_limits import cpu_s, rss_kib
from harness import PROGRAMS, Load, Promise, Room, on_bus
from rpcproxy import simulated_host

from openxt_bus.blocking import BlockingBus

XENMGR = "com.citrix.xenclient.xenmgr"
VMS = 1000
FEW_VMS = 10
STARTUP_CPU_S = 3.0
KIB_A_VM = 40
UUID = "00000000-0000-4000-8000-000000000{:03}"
KEYS = 150
FEW_KEYS = 5
CALLS = {"list_vms": 300, "find_vm_by_uuid": 4000}


def vm_of(number: int, keys: int) -> dict[str, object]:
    """A VM with a disk, a card, rules and so many plain keys."""
    config = {f"key-{at}": f"value of key {at}" for at in range(keys)}
    disk = {"path": f"/storage/disks/{number}.vhd", "type": "vhd", "mode": "w", "device": "xvda"}
    nic = {"id": "0", "network": "/wired/0/bridged", "backend-uuid": "00000000-0000-0000-0000-000000000000"}
    return {
        "uuid": UUID.format(number),
        "type": "svm",
        "name": f"VM {number}",
        "slot": "0",
        "config": {**config, "memory": "1024", "disk": {"0": disk}, "nic": {"0": nic}},
    }


def fill(root: Path, vms: int, keys: int) -> None:
    folder = root / "config" / "vms"
    folder.mkdir(parents=True)
    for number in range(vms):
        tree = vm_of(number, keys)
        (folder / f"{tree['uuid']}.db").write_text(json.dumps(tree, indent=2) + "\n")
    (root / "config" / "db").write_text('{\n  "db-version": "27"\n}\n')


@contextmanager
def xenmgr_with(room: Room, vms: int, keys: int = KEYS) -> Iterator[tuple[Path, int]]:
    """A host with so many VMs: the bus's socket, and the process of xenmgr, which answers calls."""
    with room.bus() as bus, simulated_host(room, bus) as environ:
        root = Path(environ["OPENXT_ROOT"])
        fill(root, vms, keys)
        notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notices.bind(f"{bus}.notify")
        notices.settimeout(120)
        environ = {**on_bus(bus), **environ, "NOTIFY_SOCKET": f"{bus}.notify"}

        def started(name: str, *words: str) -> AbstractContextManager[object]:
            command = ("sh", "-c", f'echo started; exec "{PROGRAMS}/{name}" "$@"', "sh", *words)
            return room.service(*command, ready="started", environ=environ)

        with started("dbd"):
            assert notices.recv(100).startswith(b"READY")
            with started("xenmgr", "--no-daemonize", "--no-autostart"):
                assert notices.recv(100).startswith(b"READY")
                yield bus, pid_of(bus)
        notices.close()


def pid_of(bus: Path) -> int:
    client = BlockingBus(f"unix:path={bus}")
    name = "org.freedesktop.DBus"
    try:
        return int(client.call(name, "/", name, "GetConnectionUnixProcessID", "s", (XENMGR,))[0])
    finally:
        client.close()


def startup_ratios(room: Room, rounds: int) -> list[float]:
    """Interpreter, modules and 1000 VMs, until calls are answered."""
    found = []
    for _ in range(rounds):
        with xenmgr_with(room, VMS) as (_, pid):
            found.append(STARTUP_CPU_S / cpu_s(pid))
    return found


def memory_ratios(room: Room, rounds: int) -> list[float]:
    """After each VM was looked at whole, twice."""
    found = []
    for _ in range(rounds):
        few, many = _memory_kib(room, FEW_VMS), _memory_kib(room, VMS)
        found.append(KIB_A_VM * (VMS - FEW_VMS) / max(1, many - few))
    return found


def _memory_kib(room: Room, vms: int) -> int:
    with xenmgr_with(room, vms) as (bus, pid):
        client = BlockingBus(f"unix:path={bus}")
        properties = "org.freedesktop.DBus.Properties"
        for _ in range(2):
            for path in client.call(XENMGR, "/", XENMGR, "list_vms", "", ())[0]:
                client.call(XENMGR, path, properties, "GetAll", "s", (f"{XENMGR}.vm",))
        client.close()
        return rss_kib(pid)


def independence(room: Room, rounds: int, member: str, less: tuple[int, int]) -> list[float]:
    """The CPU time of a call with fewer or smaller VMs, to that with 1000 large ones."""
    return [_call_cpu_s(room, member, *less) / _call_cpu_s(room, member, VMS, KEYS) for _ in range(rounds)]


def _call_cpu_s(room: Room, member: str, vms: int, keys: int) -> float:
    with xenmgr_with(room, vms, keys) as (bus, pid):
        before = cpu_s(pid)
        arguments = (UUID.format(3),) if member == "find_vm_by_uuid" else ()
        room.rate(bus, Load(XENMGR, "/", XENMGR, member, arguments, CALLS[member], 1))
        return cpu_s(pid) - before


PROMISES = (
    Promise("xenmgr-startup-1000-vms", 1.0, startup_ratios),
    Promise("xenmgr-memory-per-vm", 1.0, memory_ratios),
    Promise(
        "xenmgr-list-vms", 0.9, lambda room, rounds: independence(room, rounds, "list_vms", (VMS, FEW_KEYS))
    ),
    Promise(
        "xenmgr-find-vm",
        0.9,
        lambda room, rounds: independence(room, rounds, "find_vm_by_uuid", (FEW_VMS, KEYS)),
    ),
)
