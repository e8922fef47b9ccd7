# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest whose first program is given by a test, and the monitor that runs it.

The program is put over the bed's own in a second archive, which the kernel unpacks after the first.
"""

import gzip
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xl_guest import LINUX_BOOT_S, Guest, run

from guest_files import PRELUDE, archive

UUID = "d1357d03-0000-4000-8000-000000000001"

# QEMU loads the kernel of a full machine, and knows bzImages only.
FILES = {
    "pv":  ("/guest/vmlinux", "/guest/initrd.gz"),
    "pvh": ("/guest/vmlinux", "/guest/initrd.gz"),
    "hvm": ("/guest/vmlinuz", "/guest/initrd-hvm.gz"),
}  # fmt: skip


@dataclass(frozen=True)
class Monitored:
    """A VM with its monitor; `folder` holds its files."""

    folder: Path
    name: str
    kind: str

    def config(self, program: str, *lines: str) -> Path:
        """`program` goes on after PRELUDE."""
        initrd, path = self.folder / "initrd", self.folder / "config"
        kernel, base = FILES[self.kind]
        init = (PRELUDE + program).encode()
        initrd.write_bytes(Path(base).read_bytes() + gzip.compress(archive({"init": init})))
        own = (
            f"uuid = {UUID}",
            f"name = {self.name}",
            "startup = shutdown",
            f"virt-type = {self.kind}",
            f"kernel = {kernel}",
            f"initrd = {initrd}",
            "cmdline = console=hvc0 quiet",
            "memory = 128",
        )
        path.write_text("\n".join([*own, *lines]))
        return path

    def ask(self, task: str, **given: object) -> str:
        return run("xenvm-cmd", UUID, task, *(f"{name}={value}" for name, value in given.items()))

    def refused(self, task: str, **given: object) -> str:
        """What a task complains about."""
        words = [f"{name}={value}" for name, value in given.items()]
        done = subprocess.run(["xenvm-cmd", UUID, task, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stdout
        return done.stderr

    def start(self, config: Path) -> Guest:
        run("xenvm", "--config", config)
        self.ask("start")
        guest = Guest(self.name, int(self.ask("get-domid")))
        guest.wait_until_it_says("GUEST READY", LINUX_BOOT_S)
        return guest


@contextmanager
def bridge(name: str, address: str) -> Iterator[None]:
    run("ip", "link", "add", name, "type", "bridge")
    run("ip", "addr", "add", f"{address}/24", "dev", name)
    run("ip", "link", "set", name, "up")
    try:
        yield
    finally:
        run("ip", "link", "del", name)


def end_monitor() -> None:
    """Whatever happened, the monitor and its domain go."""
    for word in ("destroy", "quit"):
        subprocess.run(["xenvm-cmd", UUID, word], capture_output=True, check=False)


def vifs() -> list[str]:
    return [folder.name for folder in Path("/sys/class/net").glob("vif*")]


SHARED = ("/vm = ", "/local/domain/0/device-model = ")
"""Any toolstack makes these lines; the first may go with the last VM, the second stays."""


def nodes() -> Sequence[str]:
    """All of XenStore but SHARED."""
    return [line for line in run("xenstore-ls", "-f", "-p").splitlines() if not line.startswith(SHARED)]
