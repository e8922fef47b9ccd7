# SPDX-License-Identifier: GPL-2.0-or-later
"""dbd with 1000 VMs of 150 keys, against a C service that only answers."""

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness import PROGRAMS, Load, Promise, Room, on_bus, side_by_side

VMS = 1000
KEYS = 150
ECHO = "org.openxt.bench.Echo"
DBD = "com.citrix.xenclient.db"
VM = "/vm/00000000-0000-0000-0000-000000000"
"""All but the last three digits of a VM's number."""


def fill(root: Path, vms: int) -> None:
    """The database of a private host; nothing is done if it is there already."""
    folder = root / "config" / "vms"
    if folder.exists():
        return
    folder.mkdir(parents=True)
    (root / "config" / "db").write_text('{\n  "db-version": "9"\n}\n')
    config = {f"key-{number}": f"value of key {number}" for number in range(KEYS - 30)}
    disks = {str(number): {"path": f"/storage/disks/{number}.vhd", "type": "vhd"} for number in range(10)}
    for number in range(vms):
        uuid = f"{VM}{number:03}".removeprefix("/vm/")
        vm = {"uuid": uuid, "name": f"VM {number}", "config": {**config, "memory": "1024", "disk": disks}}
        (folder / f"{uuid}.db").write_text(json.dumps(vm, indent=2) + "\n")


@contextmanager
def running_dbd(
    room: Room,
    bus: Path,
    vms: int = VMS,
    more: Mapping[str, str] = {},
    prepare: Callable[[Path], None] = lambda _: None,
) -> Iterator[None]:
    root = room.folder / f"dbd-root-{vms}"
    fill(root, vms)
    prepare(root)
    os.sync()  # or what was just written is written to the disk while something is measured
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notices.bind(str(bus) + ".notify")
    notices.settimeout(60)
    environ = {**on_bus(bus), **more, "OPENXT_ROOT": str(root), "NOTIFY_SOCKET": f"{bus}.notify"}
    with room.service("sh", "-c", f'echo started; exec "{PROGRAMS}/dbd"', ready="started", environ=environ):
        assert notices.recv(100).startswith(b"READY")
        yield
    notices.close()


def ratios(room: Room, rounds: int, member: str, arguments: tuple[str, ...], depth: int) -> list[float]:
    calls = 3_000 if depth == 1 else 8_000
    reference = Load(ECHO, "/", ECHO, member, arguments, calls, depth)
    ours = Load(DBD, "/", DBD, member, arguments, calls, depth)
    service = room.build("echo_service", "systemd")
    found = []
    for _ in range(rounds):
        with (
            room.bus() as bus,
            room.service(service, ready="ready", environ=on_bus(bus)),
            running_dbd(room, bus),
        ):
            found.append(side_by_side(room, bus, reference, ours))
    return found


def promise(name: str, floor: float, member: str, arguments: tuple[str, ...], depth: int) -> Promise:
    return Promise(name, floor, lambda room, rounds: ratios(room, rounds, member, arguments, depth))


READ = (f"{VM}###/config/memory",)
WRITE = (f"{VM}###/config/memory", "@@@@@@@@")

PROMISES = (
    promise("dbd-read-1", 0.9, "read", READ, 1),
    promise("dbd-read-64", 0.95, "read", READ, 64),
    promise("dbd-write-1", 0.9, "write", WRITE, 1),
    promise("dbd-write-64", 0.95, "write", WRITE, 64),
)
