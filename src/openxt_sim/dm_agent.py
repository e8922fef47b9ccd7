# SPDX-License-Identifier: GPL-2.0-or-later
"""The dm-agent that a stub domain's kernel starts: offers every device, runs what it is asked for.  No I/O.

A guest whose command line says `guest_agent=dmagent guest_domid=N` has one.
"""

import re
from collections.abc import Callable

from openxt_core.ids import Domid

MODEL = "qemu"
DEVICES = (
    *("xenfb", "input", "xenmou", "xen_acpi_pm", "xen_pci_pt", "svga", "acpi", "audio", "serial"),
    *("net", "drive", "cdrom"),
)
FOLDER = "dm-agent"

_WORDS = re.compile(r"(?:^|\s)guest_agent=dmagent(?:\s.*)?\sguest_domid=([0-9]{1,5})(?:\s|$)", re.ASCII)


def target_in(cmdline: str) -> Domid | None:
    """Whom the agent shall serve; None for a guest without one."""
    match = _WORDS.search(cmdline)
    return Domid(int(match[1])) if match else None


class DmAgent:
    """Paths are relative to the stub domain's own folder."""

    def __init__(self, target: Domid, write: Callable[[str, str], None], rm: Callable[[str], None]) -> None:
        self._target = target
        self._write = write
        self._rm = rm
        self._running: set[str] = set()

    def begin(self) -> None:
        """What it can do comes last: whoever waits for it finds the rest."""
        self._write(f"{FOLDER}/target", str(self._target))
        for device in DEVICES:
            self._write(f"{FOLDER}/capabilities/{MODEL}/{device}/depends", "")

    def event(self, path: str) -> None:
        """Something below its folder changed."""
        words = path.split("/")
        if words[:2] != [FOLDER, "dms"] or len(words) < 4:
            return
        domain = "/".join(words[:3])
        if words[3] == "destroy":
            self._running.clear()
            self._rm(domain)
        elif words[3] not in self._running:
            self._running.add(words[3])
            self._write(f"{domain}/{words[3]}/status", "running")
