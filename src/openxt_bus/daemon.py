# SPDX-License-Identifier: GPL-2.0-or-later
"""What every daemon's main does: log, connect, own the name, say it is ready, end on a signal.

Exit status: 0 for a normal end, 1 for a fatal error, which is told on stderr and in the log.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openxt_bus.loop import BusLoop
from openxt_core.errors import OpenxtError, Unavailable

if TYPE_CHECKING:
    from openxt_bus.connection import Bus

log = logging.getLogger(__name__)

SYSLOG_SOCKET = "/dev/log"


class Lifetime:
    """From start to end of one daemon.  Made by `run`."""

    def __init__(self) -> None:
        self._main = asyncio.current_task()
        self._stopped = asyncio.Event()
        self._is_started = False
        self._buses: list[Bus] = []
        self._hangup: list[Callable[[], None]] = []
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)

    async def connect(self) -> "Bus":
        """The system bus; its loss ends the daemon.  Raises Unavailable."""
        from openxt_bus.connection import Bus

        bus = await Bus.connect()
        self._buses.append(bus)
        return bus

    async def own(self, bus: "Bus", name: str) -> None:
        """Own a bus name.  Raises Unavailable, which is fatal, when somebody else has it."""
        if not await bus.request_name(name):
            raise Unavailable(f"the bus name {name} is taken: is another instance running?")

    def on_hangup(self, callback: Callable[[], None]) -> None:
        """Call `callback` at each SIGHUP; a failing one is logged."""
        self._hangup.append(callback)

    def ready(self) -> None:
        """Tell the service manager that calls are answered now."""
        notify("READY=1")

    async def until_stopped(self) -> None:
        """Returns at SIGTERM or SIGINT; what follows is the daemon's tidying up.

        Raises Unavailable when the bus is lost.  A signal that comes before anybody waits here cancels
        the main function.
        """
        self._is_started = True
        stop = asyncio.ensure_future(self._stopped.wait())
        losses = [asyncio.ensure_future(bus.wait_closed()) for bus in self._buses]
        try:
            await asyncio.wait([stop, *losses], return_when=asyncio.FIRST_COMPLETED)
            if not stop.done():
                raise Unavailable("the connection to the message bus is lost")
        finally:
            notify("STOPPING=1")
            for waiting in (stop, *losses):
                waiting.cancel()

    def close(self) -> None:
        """Leave every bus."""
        for bus in self._buses:
            bus.close()

    def _stop(self) -> None:
        self._stopped.set()
        if not self._is_started and self._main is not None:
            self._main.cancel()

    def _hung_up(self) -> None:
        for callback in self._hangup:
            try:
                callback()
            except Exception:
                log.exception("reloading failed")


def run(ident: str, main: Callable[[Lifetime], Coroutine[Any, Any, None]]) -> int:
    """Run `main` to its end and give the exit status; `ident` names the daemon in the log."""
    set_up_logging(ident)
    try:
        with asyncio.Runner(loop_factory=BusLoop) as runner:
            runner.run(_live(main))
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 0  # stopped while it was starting
    except Exception as error:  # noqa: BLE001  (the last door: it is told and becomes the exit status)
        return _fail(ident, _cause(error))
    return 0


async def _live(main: Callable[[Lifetime], Coroutine[Any, Any, None]]) -> None:
    lifetime = Lifetime()
    try:
        await main(lifetime)
    finally:
        lifetime.close()


def _cause(error: Exception) -> Exception:
    """The one error inside the groups that task groups wrap around it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        (error,) = error.exceptions
    return error


def _fail(ident: str, error: Exception) -> int:
    is_expected = isinstance(error, OpenxtError | OSError)
    text = str(error) if is_expected else f"internal error: {error!r}"
    log.error("fatal: %s", text, exc_info=None if is_expected else error)
    if not _logs_to_stderr():
        print(f"{ident}: {text}", file=sys.stderr)
    return 1


def set_up_logging(ident: str, tag: str = "") -> None:
    """To stderr when OPENXT_LOG=stderr, on a terminal, or where there is no syslog; else to syslog.

    `tag`, a format of `logging`, goes before each message.
    """
    handler: logging.Handler = logging.StreamHandler()
    if not _logs_to_stderr():
        handler = SysLogHandler(SYSLOG_SOCKET, SysLogHandler.LOG_DAEMON)
    words = " ".join(filter(None, ("%(levelname)s", tag, "%(message)s")))
    handler.setFormatter(logging.Formatter(f"{ident}[{os.getpid()}]: {words}"))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def _logs_to_stderr() -> bool:
    wanted = os.environ.get("OPENXT_LOG") == "stderr" or sys.stderr.isatty()
    return wanted or not Path(SYSLOG_SOCKET).is_socket()


def notify(state: str) -> None:
    """Tell the service manager, if it asked to be told.  Source: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),  # nobody listens any more: no reason to fail
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.sendto(state.encode(), address)
