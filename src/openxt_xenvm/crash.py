# SPDX-License-Identifier: GPL-2.0-or-later
"""A note of a guest's crash: why it stopped, what it was, and the last that it and Xen said.

A few notes a VM are kept.  What the guest printed is shown escaped and cut short.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openxt_core.ids import Domid, Uuid
from openxt_xen.hypervisor import DomainInfo, Hypervisor, XenError
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.domain.nodes import domain_name
from openxt_xenvm.log_end import last_bytes

log = logging.getLogger(__name__)

KEPT = 5
CONSOLE_BYTES = 4096
XEN_LINES = 40


@dataclass(frozen=True)
class Crash:
    uuid: Uuid
    domid: Domid
    config: DomainConfig
    info: DomainInfo | None
    console: bytes = b""
    xen_log: str = ""

    @property
    def reason(self) -> str:
        return self.info.shutdown.name.lower() if self.info and self.info.shutdown else "unknown"

    def lines(self) -> Iterator[str]:
        """The note."""
        name = domain_name(self.config, self.domid)
        yield f"VM {self.uuid} ({name!r}), domain {self.domid}, {self.config.kind}: {self.reason}"
        if self.info is not None:
            cpu_s = self.info.cpu_time_ns / 1e9
            yield f"{self.info.memory_kib} KiB, {self.info.vcpus} vcpus, {cpu_s:.3f} s of cpu time"
        yield f"kernel {self.config.kernel!r}, cmdline {self.config.cmdline!r}"
        yield "last of the console:"
        yield from (f"  {line!r}" for line in self.console.decode(errors="replace").splitlines())
        yield "Xen on this domain:"
        marks = (f"d{self.domid}v", f"d{self.domid} ", f"omain {self.domid} ", f"omain {self.domid}:")
        said = [line for line in self.xen_log.splitlines() if any(mark in line for mark in marks)]
        yield from (f"  {line}" for line in said[-XEN_LINES:])


def look(hypervisor: Hypervisor, uuid: Uuid, domid: Domid, config: DomainConfig, consoles: Path) -> Crash:
    """What is known while the domain is still there.  Blocks."""
    try:
        said = hypervisor.read_console_ring()
    except XenError as error:
        said = f"d{domid} {error}"
    return Crash(uuid, domid, config, hypervisor.info(domid), _tail(consoles, config, domid), said)


def _tail(consoles: Path, config: DomainConfig, domid: Domid) -> bytes:
    """xenconsoled names a log after the guest; nothing where it keeps none."""
    name = domain_name(config, domid)
    if "/" in name:
        return b""
    try:
        return last_bytes(consoles / f"guest-{name}.log", CONSOLE_BYTES)
    except OSError:
        return b""


def write(folder: Path, crash: Crash) -> Path:
    """A file of its own; the oldest beyond those that are kept go.  Blocks.  OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"crash-{crash.uuid}-{time.time_ns()}.txt"
    text = "".join(f"{line}\n" for line in crash.lines())
    path.touch(0o600)
    path.write_text(text)
    for old in sorted(folder.glob(f"crash-{crash.uuid}-*.txt"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return path
