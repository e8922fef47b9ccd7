# SPDX-License-Identifier: GPL-2.0-or-later
"""A private host that consists of a bus and a dbd, for tests that kill it, load it or ask it a lot."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PROGRAMS = Path(sys.executable).parent
DEFAULT_DATABASE = Path(__file__).parents[2] / "etc" / "db.default"
TIMEOUT_S = 30.0


class Host:
    """A dbd on a bus, which may die and be started again."""

    def __init__(self, root: Path, bus_address: str) -> None:
        self.root = root
        self.config = root / "config"
        self.bus_address = bus_address
        self.environ = {
            **os.environ,
            "OPENXT_ROOT": str(root),
            "OPENXT_LOG": "stderr",
            "DBUS_SYSTEM_BUS_ADDRESS": bus_address,
            "XENSTORED_PATH": str(root / "no-xenstored"),
        }

    def start(self) -> subprocess.Popen[str]:
        """A dbd that answers."""
        notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = self.root / "notify"
        address.unlink(missing_ok=True)
        notices.bind(str(address))
        notices.settimeout(TIMEOUT_S)
        with notices:
            process = subprocess.Popen(
                [PROGRAMS / "dbd"],
                env={**self.environ, "NOTIFY_SOCKET": str(address)},
                stderr=subprocess.PIPE,
                text=True,
            )
            assert notices.recv(100) == b"READY=1"
        return process

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        program = [PROGRAMS / command[0], *command[1:]]
        return subprocess.run(program, env=self.environ, capture_output=True, text=True, timeout=TIMEOUT_S)


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Exit status and log."""
    process.send_signal(number)
    _, log = process.communicate(timeout=TIMEOUT_S) if not process.stderr.closed else (None, "")
    return process.returncode, log


Start = Callable[[], subprocess.Popen[str]]
