# SPDX-License-Identifier: GPL-2.0-or-later
"""Start the programs of a host, start the dead ones again, and leave no process behind at the end.

What an init system does on a real host.  Knows nothing of what the programs do.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from openxt_house.services import ServiceSpec

log = logging.getLogger(__name__)

RESTART_DELAY_S = 0.1
MAX_RESTARTS = 30  # within RESTART_WINDOW_S; beyond it something is wrong for good
RESTART_WINDOW_S = 60.0
STOP_TIMEOUT_S = 10.0
ORPHAN_GRACE_S = 1.0
_PR_SET_CHILD_SUBREAPER = 36


class StartFailed(Exception):
    """A program ended, or kept silent, before it was ready."""


class Supervised:
    """One program and its current process."""

    def __init__(self, spec: ServiceSpec, environ: Mapping[str, str], log_path: Path, run: Path) -> None:
        self.spec = spec
        self._environ = dict(environ)
        self._log_path = log_path
        self._notify = run / f"notify.{spec.name}"
        self.process: asyncio.subprocess.Process | None = None
        self._restarts: deque[float] = deque()

    @property
    def pid(self) -> int | None:
        alive = self.process is not None and self.process.returncode is None
        return self.process.pid if alive and self.process else None

    async def start(self, timeout_s: float) -> None:
        """Returns when the program says it is ready.  Raises StartFailed."""
        with _notify_socket(self._notify) as notify, self._log_path.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                env={**self._environ, "NOTIFY_SOCKET": str(self._notify)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            await self._until_ready(notify, timeout_s)

    async def _until_ready(self, notify: socket.socket, timeout_s: float) -> None:
        assert self.process is not None
        ready = asyncio.ensure_future(_ready(notify))
        ended = asyncio.ensure_future(self.process.wait())
        await asyncio.wait({ready, ended}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if ready.done():
            return
        ready.cancel()
        raise StartFailed(f"{self.spec.name} is not ready after {timeout_s:g} s; see {self._log_path}")

    def may_restart(self) -> bool:
        now = time.monotonic()
        while self._restarts and self._restarts[0] < now - RESTART_WINDOW_S:
            self._restarts.popleft()
        self._restarts.append(now)
        return len(self._restarts) <= MAX_RESTARTS


@contextlib.contextmanager
def _notify_socket(path: Path) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind(str(path))
        try:
            yield sock
        finally:
            path.unlink(missing_ok=True)


async def _ready(notify: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while b"READY=1" not in await loop.sock_recv(notify, 4096):
        pass


class Supervisor:
    """The programs of one host, in order."""

    def __init__(self, environ: Mapping[str, str], root: Path, start_timeout_s: float = 30.0) -> None:
        bin_dir = str(Path(sys.executable).parent)
        path = f"{bin_dir}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"
        self.environ = {**os.environ, **environ, "PATH": path}
        self._root = root
        self._start_timeout_s = start_timeout_s
        self.supervised: dict[str, Supervised] = {}
        self._keepers: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.broken = asyncio.Event()  # a program that must not die did, or one keeps dying
        _become_subreaper()

    async def start(self, specs: tuple[ServiceSpec, ...]) -> None:
        """Start the programs in order.  Raises StartFailed; what did start is then stopped by stop()."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap_orphans)
        for spec in specs:
            one = Supervised(
                spec, self.environ, self._root / "log" / f"{spec.name}.log", self._root / "var/run"
            )
            self.supervised[spec.name] = one
            await one.start(self._start_timeout_s)
            task = asyncio.create_task(self._keep(one), name=f"keep {spec.name}")
            self._keepers.add(task)
            task.add_done_callback(self._keepers.discard)

    async def _keep(self, one: Supervised) -> None:
        """Start the program again whenever it ends by itself."""
        while True:
            assert one.process is not None
            code = await one.process.wait()
            if self._stopping:
                return
            log.warning("%s ended with %s", one.spec.name, code)
            if not one.spec.restart or not one.may_restart():
                self.broken.set()
                return
            await asyncio.sleep(RESTART_DELAY_S)
            with contextlib.suppress(StartFailed):
                await one.start(self._start_timeout_s)

    async def stop(self) -> None:
        """Stop everything in reverse order, then whatever our programs left running."""
        self._stopping = True
        for task in list(self._keepers):
            task.cancel()
        for one in reversed(self.supervised.values()):
            if one.process is not None and one.pid is not None:
                await _end(one.process)
        await _end_orphans()

    def _reap_orphans(self) -> None:
        """Collect ended orphans.  Whoever started a child collects it at once; what is left later is ours."""
        ended = [pid for pid in children() if _is_zombie(pid)]
        asyncio.get_running_loop().call_later(ORPHAN_GRACE_S, _collect, ended)

    def kill(self, name: str) -> None:
        """Kill a program at once (tests); it is started again."""
        pid = self.supervised[name].pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _become_subreaper() -> None:
    """Make orphans of our programs our children, so that stop() finds them."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    return False


def _collect(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def children() -> list[int]:
    """Our own children, adopted orphans included."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found]


async def _end_orphans() -> None:
    for sig in (signal.SIGTERM, signal.SIGKILL):
        for pid in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        for _ in range(50):
            _reap()
            if not children():
                return
            await asyncio.sleep(0.05)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
