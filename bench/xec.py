# SPDX-License-Identifier: GPL-2.0-or-later
"""One call on a command line, from start to end: xec against the others' tools, on xenmgr's list of VMs."""

import os
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

from harness import HERE, PROGRAMS, Missing, Promise, Room, on_bus

XENMGR = "com.citrix.xenclient.xenmgr"
CALLS = 15  # of each program in a round, in turn
REFERENCES = {
    "busctl": ("busctl", "--system", "call", XENMGR, "/", XENMGR, "list_vms"),
    "gdbus": ("gdbus", "call", "--system", "-d", XENMGR, "-o", "/", "-m", f"{XENMGR}.list_vms"),
    "dbus-send": ("dbus-send", "--system", "--print-reply", f"--dest={XENMGR}", "/", f"{XENMGR}.list_vms"),
}


def quick(room: Room) -> Path:
    """The xec of `make native`, with the one in Python beside it.  Raises Missing."""
    program = room.folder / "xec"
    if not program.exists():
        (room.folder / "xec-python").symlink_to(PROGRAMS / "xec-python")
        done = subprocess.run(
            [HERE.parent / "native/xec/build.sh", room.folder], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Missing(f"apt install gcc libdbus-1-dev libexpat1-dev pkg-config: {done.stderr}")
    return program


def ratios(room: Room, rounds: int, program: str, reference: str) -> list[float]:
    """The reference's time to ours: more is better."""
    xec = quick(room) if program == "xec" else PROGRAMS / program
    found = []
    for number in range(rounds):
        folder = room.folder / f"{program}-{reference}{number}"
        house = (PROGRAMS / "openxt-house", "--dir", folder, "--share", HERE.parent, "--keep")
        with room.service(*house, ready="ready"):
            found.append(_round(room, on_bus(folder / "bus"), REFERENCES[reference], (str(xec), "list-vms")))
    return found


def _round(room: Room, environ: dict[str, str], theirs: Sequence[str], ours: Sequence[str]) -> float:
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(CALLS):
        for command, times in zip((theirs, ours), taken, strict=True):
            start = time.perf_counter()
            subprocess.run(
                room.pinned(*command), env=os.environ | environ, stdout=subprocess.DEVNULL, check=True
            )
            times.append(time.perf_counter() - start)
    return median(taken[0]) / median(taken[1])


PROMISES = (
    Promise("xec-call", 1 / 1.5, partial(ratios, program="xec", reference="busctl")),
    Promise("xec-call-gdbus", 0.0, partial(ratios, program="xec", reference="gdbus")),
    Promise("xec-call-dbus-send", 0.0, partial(ratios, program="xec", reference="dbus-send")),
    Promise("xec-python-call", 0.0, partial(ratios, program="xec-python", reference="busctl")),
)
