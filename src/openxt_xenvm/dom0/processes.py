# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of dom0 that outlive the monitor which started them: device models and their helpers.

Each is known by a mark, a text that only its own command line holds: whoever comes after a monitor that was
killed finds it by that, and nobody has to keep numbers.  Calls block, but for `ended`.
"""

import asyncio
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from openxt_xenvm.errors import DeviceError

KILL_S = 5.0  # what the kernel may take to end a killed one

LAUNCH = 'setsid "$@" </dev/null >>"$OPENXT_PROGRAM_LOG" 2>&1 & echo $!'
"""A session of its own, and nobody's child: what happens to us does not happen to it."""


def start(command: Sequence[str], log: Path) -> int:
    """The program's number.  What it prints is added to `log`.  Raises DeviceError."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OPENXT_PROGRAM_LOG": str(log)}
        words = ("/bin/sh", "-c", LAUNCH, "sh", *command)
        done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True, timeout=KILL_S)
        return int(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise DeviceError(f"cannot start {command[0]}: {error}") from error


def find(mark: str) -> list[int]:
    """The numbers of all programs whose command line holds `mark`."""
    needle, found = mark.encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and needle in _command_line(int(entry.name)):
            found.append(int(entry.name))
    return sorted(found)


def _command_line(pid: int) -> bytes:
    """Empty when there is none, or it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def end(mark: str, grace_s: float) -> None:
    """End all of a mark: asked first, killed after `grace_s`.  Raises DeviceError if one stays."""
    for sign, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_S)):
        deadline = time.monotonic() + limit_s
        for pid in find(mark):
            _end_one(pid, mark, sign, deadline)
        if not find(mark):
            return
    raise DeviceError(f"a program of dom0 does not end: {', '.join(map(str, find(mark)))}")


def _end_one(pid: int, mark: str, sign: signal.Signals, deadline: float) -> None:
    with _handle(pid) as handle:
        # looked at again: the number may have gone to another program before we held it
        if handle is not None and mark.encode() in _command_line(pid):
            signal.pidfd_send_signal(handle, sign)
            waiting = select.poll()
            waiting.register(handle, select.POLLIN)
            waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)


@contextmanager
def _handle(pid: int) -> Iterator[int | None]:
    """Stands for this very process, never for one that gets its number later.  None: it has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


async def ended(pid: int) -> None:
    """Returns when the program has ended."""
    with _handle(pid) as handle:
        if handle is None:
            return
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(handle, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(handle)
