# SPDX-License-Identifier: GPL-2.0-or-later
"""Test guests run by Xen's own tool, xl: what the bed promises is checked without the code under test.

Only for the emulated dom0, which has the guests' kernels in /guest and logs of their consoles.
"""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

CONSOLES = Path("/var/log/xen/console")
POLL_S = 0.05
LINUX_BOOT_S = 180.0

T = TypeVar("T")


def until(look: Callable[[], T], what: str, timeout_s: float = 30.0) -> T:
    """The first answer that is not false.  Polls, because a console log announces nothing."""
    deadline = time.monotonic() + timeout_s
    while not (answer := look()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(POLL_S)
    return answer


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True)
class Guest:
    name: str
    domid: int

    def console(self) -> str:
        log = CONSOLES / f"guest-{self.name}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def wait_until_it_says(self, text: str, timeout_s: float = 30.0) -> None:
        until(lambda: text in self.console(), f"{self.name} says {text!r}", timeout_s)

    def order(self, word: str) -> None:
        """What a toolstack writes to have the guest stop."""
        run("xenstore-write", f"/local/domain/{self.domid}/control/shutdown", word)

    def ordered(self) -> str:
        """What is left of the order: empty once the guest has heard it."""
        return run("xenstore-read", f"/local/domain/{self.domid}/control/shutdown")


def start(name: str, kind: str, words: str = "", *, linux: bool = False) -> Guest:
    """A guest of `kind` pv or pvh that xl does not watch: it stays as it stopped until it is destroyed."""
    settings = {
        "name": name,
        "type": kind,
        "kernel": "/guest/vmlinux" if linux else f"/guest/tiny-{kind}",
        "memory": 128 if linux else 8,
        "vcpus": 1,
        "cmdline": f"console=hvc0 quiet {words}".strip() if linux else words,
    }
    if linux:
        settings["ramdisk"] = "/guest/initrd.gz"
    config = Path(f"/tmp/{name}.cfg")
    config.write_text("".join(f"{key}={value!r}\n" for key, value in settings.items()))
    run("xl", "create", "-e", "-q", config)
    return Guest(name, int(run("xl", "domid", name)))
