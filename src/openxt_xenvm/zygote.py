# SPDX-License-Identifier: GPL-2.0-or-later
"""xenvm-zygote: everything a monitor needs is loaded once; each monitor is a fork that shares it.

Before a fork there is no thread, no event loop and no connection.  Protocol of the socket (mode 0600): a
line of JSON `{"config": "/path", "uuid": "…"}`; answer, once the monitor serves, `{"pid": N}` or
`{"error": "text", "exit_code": N}`.  The monitors are sessions of their own and outlive the zygote.
"""

import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openxt_bus.daemon import notify, set_up_logging
from openxt_core.errors import BadRequest
from openxt_core.ids import parse_uuid
from openxt_core.places import Places
from openxt_xenvm import launch, merging, program
from openxt_xenvm.options import EXIT_USAGE, Options
from openxt_xenvm.preload import preload

log = logging.getLogger(__name__)

MAX_REQUEST = 4096
REQUEST_TIMEOUT_S = 5.0
READY_TIMEOUT_S = 60.0
REHEARSALS = 20


def merge_pages(*, may_switch: bool) -> None:
    """What monitors copy all the same, as CPython counts references in objects, is alike in all of them.

    Where the kernel does not merge it, they only need more memory.
    """
    try:
        merging.offer_own_pages()
        found = merging.switch_on() if may_switch else "left as it is: --no-merge"
    except OSError as error:
        _log(logging.WARNING, f"merging of equal pages, off: monitors need 9 MiB instead of 1 to 4: {error}")
    else:
        _log(logging.INFO, f"merging of equal pages, {merging.KERNEL}: {found}")


def _log(level: int, text: str) -> None:
    """No log stays open: a monitor closes all that it inherits, and opens its own."""
    set_up_logging("xenvm-zygote")
    log.log(level, "%s", text)
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)


def parse_request(line: bytes) -> Options:
    """Raises BadRequest."""
    try:
        found = json.loads(line)
    except ValueError as error:
        raise BadRequest(f"not a line of JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRequest("not an object")
    config, uuid = found.get("config", ""), found.get("uuid", "")
    if not isinstance(config, str) or not isinstance(uuid, str) or not (config or uuid):
        raise BadRequest("a config file or a uuid is needed")
    return Options(config, parse_uuid(uuid) if uuid else None, daemonize=False)


@dataclass(eq=False)
class Birth:
    """One request: first its line is awaited, then its monitor."""

    client: socket.socket
    deadline: float
    pipe: int = -1
    pid: int = 0
    received: bytes = b""


@dataclass
class Zygote:
    path: Path
    listener: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_UNIX))
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    births: set[Birth] = field(default_factory=set)
    become: "Callable[[Options, int], None]" = field(default_factory=lambda: _be_monitor)  # never returns
    is_over: bool = False

    def rehearse(self) -> None:
        """Births of nobody, before those of monitors.

        The first ones change much of our memory, as CPython specialises code that runs repeatedly; what is
        born meanwhile would have, for life, pages that no later monitor has and the kernel cannot merge.
        """
        monitors, self.become = self.become, lambda _options, _report: os._exit(0)
        for _ in range(REHEARSALS):
            asking, client = socket.socketpair()
            with asking:
                asking.sendall(b'{"config": "/of/nobody"}\n')
                self._begin(client)
                while self.births:
                    self._turn()
        self.become = monitors

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        wake, waker = socket.socketpair()
        for end in (wake, waker, self.listener):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._signalled)
        self._listen()
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.selector.register(wake, selectors.EVENT_READ, lambda: _drain(wake))
        notify("READY=1")
        try:
            while not self.is_over:
                self._turn()
        finally:
            self.path.unlink(missing_ok=True)

    def _listen(self) -> None:
        """Who sees the socket is listened to: it gets its name last."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        nameless = self.path.with_name(f"{self.path.name}.new")
        nameless.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self.listener.bind(str(nameless))
        finally:
            os.umask(before)
        self.listener.listen(128)
        nameless.rename(self.path)

    def _turn(self) -> None:
        for key, _ in self.selector.select(self._patience_s()):
            key.data()
        now = time.monotonic()
        for birth in [birth for birth in self.births if birth.deadline < now]:
            self._expire(birth)
        _reap()

    def _patience_s(self) -> float | None:
        if not self.births:
            return None
        return max(0.0, min(birth.deadline for birth in self.births) - time.monotonic())

    def _signalled(self, number: int, _frame: Any) -> None:
        if number != signal.SIGCHLD:
            self.is_over = True

    def _accept(self) -> None:
        try:
            client, _ = self.listener.accept()
        except OSError:
            return  # it left again
        self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        client.setblocking(False)
        birth = Birth(client, time.monotonic() + REQUEST_TIMEOUT_S)
        self.births.add(birth)
        self.selector.register(client, selectors.EVENT_READ, lambda: self._receive(birth))

    def _receive(self, birth: Birth) -> None:
        try:
            data = birth.client.recv(16 * MAX_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        birth.received += data
        if b"\n" in birth.received:
            self.selector.unregister(birth.client)
            self._take(birth)
        elif len(birth.received) > MAX_REQUEST:
            self._answer(birth, {"error": "the request is too long", "exit_code": EXIT_USAGE})
        elif not data:
            self._end(birth)

    def _take(self, birth: Birth) -> None:
        try:
            options = parse_request(birth.received.partition(b"\n")[0])
            self._fork(birth, options)
        except BadRequest as error:
            self._answer(birth, {"error": str(error), "exit_code": EXIT_USAGE})
        except OSError as error:
            self._answer(birth, {"error": f"cannot fork: {error}", "exit_code": program.EXIT_FATAL})

    def _fork(self, birth: Birth, options: Options) -> None:
        reading, writing = os.pipe()
        try:
            birth.pid = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            raise
        if birth.pid == 0:
            self.become(options, writing)
        os.close(writing)
        birth.pipe, birth.received = reading, b""
        birth.deadline = time.monotonic() + READY_TIMEOUT_S
        self.selector.register(reading, selectors.EVENT_READ, lambda: self._hear(birth))

    def _hear(self, birth: Birth) -> None:
        data = os.read(birth.pipe, MAX_REQUEST)
        birth.received += data
        if b"\n" in birth.received or not data:
            self.selector.unregister(birth.pipe)
            self._answer(birth, launch.parse_report(birth.received))

    def _expire(self, birth: Birth) -> None:
        """Nobody waits for ever: a monitor that never serves is killed, it has done nothing yet."""
        if birth.pipe < 0:
            self._end(birth)
            return
        os.kill(birth.pid, signal.SIGKILL)
        birth.deadline = float("inf")  # its end closes the pipe

    def _answer(self, birth: Birth, answer: dict[str, object]) -> None:
        try:
            birth.client.send(json.dumps(answer).encode() + b"\n")
        except OSError:
            pass  # who asked has left
        self._end(birth)

    def _end(self, birth: Birth) -> None:
        self.births.discard(birth)
        if birth.client.fileno() in self.selector.get_map():
            self.selector.unregister(birth.client)
        birth.client.close()
        if birth.pipe >= 0:
            os.close(birth.pipe)


def _be_monitor(options: Options, report: int) -> None:
    """The child: nothing of the zygote's stays open, and it never returns to the zygote's loop."""
    status = program.EXIT_FATAL
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        os.closerange(3, report)
        os.closerange(report + 1, os.sysconf("SC_OPEN_MAX"))
        told = launch.Report(report)
        status = program.run(options, told.ready, told.failed)
    finally:
        os._exit(status)


def _drain(wake: socket.socket) -> None:
    try:
        while wake.recv(64):
            pass
    except BlockingIOError:
        pass


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


HELP = """\
Usage: xenvm-zygote [--no-merge]

Loads once what every monitor of a VM needs, and forks the monitors that xenmgr
asks for on /var/run/xenvm/zygote.

So that each has 1 to 4 MiB of its own instead of 9, the kernel's merging of
equal pages (/sys/kernel/mm/ksm/run) is switched on, unless somebody has set it.
Only monitors offer pages: other processes and guests stay untouched.

  --no-merge   leave that setting alone"""


def main() -> int:
    words = sys.argv[1:]
    if words not in ([], ["--no-merge"]):
        print(HELP)
        return 0 if words in (["-h"], ["--help"]) else 2
    try:
        preload()
        zygote = Zygote(Places.of(os.environ).zygote_socket)
        zygote.rehearse()
        merge_pages(may_switch=not words)
        zygote.run()
    except OSError as error:
        print(f"xenvm-zygote: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
