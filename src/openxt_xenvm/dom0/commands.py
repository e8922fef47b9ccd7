# SPDX-License-Identifier: GPL-2.0-or-later
"""The real control domain: losetup of util-linux, ip of iproute2, and what the kernel tells in /sys."""

import os
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openxt_xenvm.config.model import Disk
from openxt_xenvm.errors import DeviceError

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
TIMEOUT_S = 30.0
DELETED = " (deleted)"
"""Linux ends the name of an open file that has no name any more with this."""


@dataclass(frozen=True)
class CommandKeeper:
    sys: Path = Path("/sys")

    def disk_problem(self, disk: Disk) -> str:
        try:
            mode = Path(disk.path).stat().st_mode
        except (OSError, ValueError) as error:
            return f"cannot open {disk.path}: {getattr(error, 'strerror', error)}"
        if disk.type == "phy" and not stat.S_ISBLK(mode):
            return f"{disk.path} is not a block device"
        if disk.type == "file" and not stat.S_ISREG(mode):
            return f"{disk.path} is not a regular file"
        if not os.access(disk.path, os.R_OK | (os.W_OK if disk.writable else 0)):
            return f"cannot {'write' if disk.writable else 'read'} {disk.path}"
        return ""

    def free_loop(self) -> str:
        return _run("losetup", "--find").strip()

    def real_path(self, file: str) -> str:
        return os.path.realpath(file)

    def attach_loop(self, device: str, file: str, *, writable: bool) -> bool:
        read_only = [] if writable else ["--read-only"]
        try:
            _run("losetup", *read_only, device, file)
        except DeviceError:
            if self._backing_file(device):
                return False
            raise
        return True

    def detach_loop(self, device: str, file: str) -> None:
        if self._backing_file(device) == file:
            _run("losetup", "--detach", device)

    def _backing_file(self, device: str) -> str:
        """ "" when the device stands before no file."""
        try:
            text = (self.sys / "block" / Path(device).name / "loop/backing_file").read_text()
        except OSError:
            return ""
        return text.removesuffix("\n").removesuffix(DELETED)

    def device_number(self, device: str) -> tuple[int, int]:
        try:
            found = Path(device).stat()
        except OSError as error:
            raise DeviceError(f"cannot open {device}: {error.strerror}") from error
        return os.major(found.st_rdev), os.minor(found.st_rdev)

    def bridges(self) -> Sequence[str]:
        return sorted(folder.parent.name for folder in self.sys.glob("class/net/*/bridge"))

    def has_interface(self, interface: str) -> bool:
        return (self.sys / "class/net" / interface).exists()

    def join_bridge(self, interface: str, bridge: str) -> None:
        _run("ip", "link", "set", "dev", interface, "master", bridge)
        _run("ip", "link", "set", "dev", interface, "up")


def _run(*command: str) -> str:
    """What a command prints.  Its words go to no shell."""
    try:
        done = subprocess.run(
            command,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise DeviceError(f"{command[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{command[0]} did not end within {TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise DeviceError(f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout
