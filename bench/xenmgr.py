# SPDX-License-Identifier: GPL-2.0-or-later
"""xenmgr's GetAll of a VM, against a C service with as many properties."""

import json
from pathlib import Path

from harness import HERE, PROGRAMS, Load, Promise, Room, on_bus, side_by_side

from openxt_bus.blocking import BlockingBus

PROPERTIES = "org.freedesktop.DBus.Properties"
REFERENCE = "org.openxt.bench.Properties"
XENMGR = "com.citrix.xenclient.xenmgr"
VM = f"{XENMGR}.vm"
CALLS = {1: 400, 64: 1000}


def create_vm(bus: Path) -> str:
    """Object path of a new VM of the simulated host."""
    config = {"hvm": "false", "virt-type": "pvh", "memory": "256", "disk": {"0": {"enable": "false"}}}
    body = ("new-vm-linux", json.dumps({"name": "bench", "stubdom": "false", "config": config}))
    client = BlockingBus(f"unix:path={bus}")
    try:
        return str(client.call(XENMGR, "/", XENMGR, "create_vm_with_template_and_json", "ss", body)[0])
    finally:
        client.close()


def get_all_ratios(room: Room, rounds: int, depth: int) -> list[float]:
    reference = Load(REFERENCE, "/", PROPERTIES, "GetAll", (REFERENCE,), CALLS[depth], depth)
    service = room.build("properties_service", "systemd")
    found = []
    for number in range(rounds):
        folder = room.folder / f"house{number}"
        house = (PROGRAMS / "openxt-house", "--dir", folder, "--share", HERE.parent, "--keep")
        bus = folder / "bus"
        with room.service(*house, ready="ready"), room.service(service, ready="ready", environ=on_bus(bus)):
            ours = Load(XENMGR, create_vm(bus), PROPERTIES, "GetAll", (VM,), CALLS[depth], depth)
            found.append(side_by_side(room, bus, reference, ours))
    return found


PROMISES = (
    Promise("xenmgr-getall-1", 0.9, lambda room, rounds: get_all_ratios(room, rounds, 1)),
    Promise("xenmgr-getall-64", 0.9, lambda room, rounds: get_all_ratios(room, rounds, 64)),
)
