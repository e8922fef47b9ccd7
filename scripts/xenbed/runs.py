# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: a payload in, what it prints while it runs, its results and its exit code out.

Everything of a run is kept in build/xen/<name>/ until the next of that name: output.log (what the payload
printed), console.log (Xen's and dom0's messages), out/ (what it left in /bed/out, and console/ in there: what
each guest printed).
"""

from __future__ import annotations

import enum
import fcntl
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from xenbed.faults import fault_of_run
from xenbed.folders import RUNS
from xenbed.machine import PLACEHOLDER, POLL_S, RESULT_BYTES, Machine, Wiring, blank_disk
from xenbed.payload import Payload, write_disk
from xenbed.tools import BedError, run, say

GRACE_S = 60  # beyond the payload's own limit, which dom0 enforces: for booting and bringing results back
TAIL_LINES = 30
QEMU_ERROR = 1  # also what isa-debug-exit makes of 0, so only a missing result tells a failure


class Start(enum.Enum):
    RESUMED = "the frozen machine goes on"
    COLD = "it boots"
    COUNTED = "it boots, and its clocks go by instructions: what is measured does not depend on our load"

    @property
    def slowness(self) -> int:
        """So many of our seconds may one of the machine's take."""
        return 4 if self is Start.COUNTED else 1


class QemuDied(Exception):
    """The emulator failed, not what ran in it."""


def run_payload(
    machine: Machine,
    payload: Payload,
    start: Start = Start.RESUMED,
    again: Callable[[Path], Payload] | None = None,
) -> int:
    """Exit code of the payload; 124 when it ran out of time.  Raises BedError if the machine failed.

    A run that failed and whose logs show a fault of the emulator is made once more, with what `again` makes
    of its folder.  Nothing else is.
    """
    folder = RUNS / payload.name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code = _run_once(machine, payload, folder, start)
        if code and (fault := fault_of_run(folder)):
            shutil.copytree(folder / "out", folder / "out-before", dirs_exist_ok=True)
            say(f"{fault}; running {payload.name} once more")
            code = _run_once(machine, again(folder) if again else payload, folder, start)
        if code:
            _show_console(folder)
    return code


def _run_once(machine: Machine, payload: Payload, folder: Path, start: Start) -> int:
    write_disks(payload, folder)
    wiring = wiring_of(folder)
    started = time.monotonic()
    try:
        _emulate_twice(_command(machine, wiring, start), folder, payload.limit_s * start.slowness + GRACE_S)
        code = brought_back(folder)
    finally:
        for image in (wiring.payload, wiring.result):
            image.unlink()
    say(f"{payload.name}: exit code {code} after {time.monotonic() - started:.1f} s; see {folder}")
    return code


def _command(machine: Machine, wiring: Wiring, start: Start) -> Sequence[str]:
    if start is Start.RESUMED:
        return machine.resumed(wiring)
    return machine.cold(wiring, counted=start is Start.COUNTED)


def write_disks(payload: Payload, folder: Path) -> None:
    """An earlier run's files go; a fresh payload disk and an empty result disk come."""
    for old in ("out", "scratch"):
        shutil.rmtree(folder / old, ignore_errors=True)
    wiring = wiring_of(folder)
    write_disk(payload, folder / "scratch", wiring.payload)
    blank_disk(wiring.result, RESULT_BYTES, PLACEHOLDER)
    shutil.rmtree(folder / "scratch")


def wiring_of(folder: Path, *, output: str = "") -> Wiring:
    """`output` is where the payload's words go, if not into output.log."""
    console = f"file:{folder / 'console.log'}"
    return Wiring(
        folder / "payload.img", folder / "result.img", console, output or f"file:{folder / 'output.log'}"
    )


def _emulate_twice(command: Sequence[str], folder: Path, limit_s: float) -> None:
    """The emulator may die once."""
    try:
        _emulate(command, folder, limit_s)
    except QemuDied as death:
        say(f"{death}; starting it once more")
        try:
            _emulate(command, folder, limit_s)
        except QemuDied as again:
            raise BedError(f"{again}, twice") from again


def _emulate(command: Sequence[str], folder: Path, limit_s: float) -> None:
    """Run QEMU to its end and pass on what the payload prints.  Raises QemuDied or BedError."""
    output = folder / "output.log"
    output.write_bytes(b"")
    deadline = time.monotonic() + limit_s
    qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        with output.open("rb") as printed:
            while qemu.poll() is None:
                _pass_on(printed)
                if time.monotonic() > deadline:
                    _show_console(folder)
                    raise BedError(
                        f"no result after {limit_s:.0f} s, though the payload should have been stopped"
                    )
                time.sleep(POLL_S)
            _pass_on(printed)
    finally:
        qemu.kill()
        code = qemu.wait()
    if not _has_result(folder) and (code < 0 or code == QEMU_ERROR):
        raise QemuDied(f"QEMU died ({'signal' if code < 0 else 'exit code'} {abs(code)})")


def _pass_on(printed: IO[bytes]) -> None:
    sys.stdout.buffer.write(printed.read())
    sys.stdout.buffer.flush()


def _has_result(folder: Path) -> bool:
    with wiring_of(folder).result.open("rb") as disk:
        return disk.read(len(PLACEHOLDER)) != PLACEHOLDER


def brought_back(folder: Path) -> int:
    """The exit code of what ran; `out` is then there.  Raises BedError if there is no result."""
    if not _has_result(folder):
        _show_console(folder)
        raise BedError("the machine went down before the payload ended: Xen or dom0 crashed")
    (folder / "out").mkdir()
    # tar keeps to the folder; Python's tarfile does so only since 3.11.4, and Debian has an older one
    run(["tar", "--no-same-owner", "-xf", wiring_of(folder).result, "-C", folder / "out"])
    return int((folder / "out" / "exit-code").read_text())


def _show_console(folder: Path) -> None:
    lines = (folder / "console.log").read_text(errors="replace").split("\n")
    say(f"the last lines of {folder / 'console.log'}:")
    for line in [line for line in lines if line.strip()][-TAIL_LINES:]:
        print(f"    {line.rstrip()}", file=sys.stderr)
