# SPDX-License-Identifier: GPL-2.0-or-later
"""The real control domain: losetup of util-linux, ip of iproute2, and what the kernel tells in /sys."""

import os
import re
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openxt_xenvm.config.model import Disk
from openxt_xenvm.domain.hardware import Firmware
from openxt_xenvm.errors import DeviceError

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
TIMEOUT_S = 30.0
DELETED = " (deleted)"
"""Linux ends the name of an open file that has no name any more with this."""


HVMLOADERS = ("usr/lib/xen-*/boot/hvmloader", "usr/lib/xen/boot/hvmloader")
BIOSES = ("usr/share/seabios/bios-256k.bin", "usr/share/qemu/bios-256k.bin")
QEMUS = (
    "usr/libexec/xen-qemu-system-i386",
    "usr/lib/xen-*/bin/qemu-system-i386",
    "usr/bin/qemu-system-i386",
    "usr/bin/qemu-system-x86_64",
)
"""Where distributions put them, the likeliest first."""

KERNEL_STARTS = (b"\x7fELF", b"\x1f\x8b", b"\xfd7zXZ", b"BZh", b"\x5d\0\0", b"\x28\xb5\x2f\xfd", b"\x89LZO")
"""ELF, and how one may be compressed.  Source: xen, libxenguest (4.17)."""

LINUX_MAGIC_AT, LINUX_MAGIC = 0x202, b"HdrS"  # Source: Linux, Documentation/arch/x86/boot.rst
HEAD_BYTES = 1024


@dataclass(frozen=True)
class CommandKeeper:
    sys: Path = Path("/sys")
    root: Path = Path("/")

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

    def kernel_problem(self, path: str) -> str:
        try:
            head = self._head(path)
        except OSError as error:
            return f"cannot read {path}: {error.strerror}"
        is_one = head.startswith(KERNEL_STARTS) or head[LINUX_MAGIC_AT:].startswith(LINUX_MAGIC)
        return "" if is_one else f"{path} is not a kernel"

    def is_linux(self, path: str) -> bool:
        try:
            return self._head(path)[LINUX_MAGIC_AT:].startswith(LINUX_MAGIC)
        except OSError:
            return False

    def _head(self, path: str) -> bytes:
        with Path(path).open("rb") as file:
            return file.read(HEAD_BYTES)

    def firmware(self) -> Firmware:
        return Firmware(
            _first(self.root, HVMLOADERS, "no hvmloader: install the Debian package xen-utils-4.17"),
            _first(self.root, BIOSES, "no BIOS for HVM domains: install the Debian package seabios"),
        )

    def device_model(self, wanted: str) -> tuple[str, ...]:
        if "qemu-system" in Path(wanted).name:
            if os.access(wanted, os.X_OK):
                return (wanted,)
            raise DeviceError(f"qemu-dm-path: cannot run {wanted}")
        return (_first(self.root, QEMUS, "no device model: install the Debian package qemu-system-xen"),)

    def default_nic_model(self) -> str:
        return "e1000" if (self.root / "config/e1000").exists() else ""

    def acpi_table(self) -> bytes:
        return _bytes(self.sys / "firmware/acpi/tables/SLIC")

    def smbios_tables(self) -> bytes:
        return _bytes(self.sys / "firmware/dmi/tables/DMI")

    def processor_vendor(self) -> str:
        words = _bytes(self.root / "proc/cpuinfo").decode(errors="replace")
        found = re.search(r"^vendor_id\s*:\s*(\S+)$", words, re.MULTILINE)
        return found[1] if found else ""

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


def _first(root: Path, patterns: Sequence[str], lacking: str) -> str:
    for pattern in patterns:
        for file in sorted(root.glob(pattern), reverse=True):
            return str(file)
    raise DeviceError(lacking)


def _bytes(file: Path) -> bytes:
    """Empty when there is no such file."""
    try:
        return file.read_bytes()
    except OSError:
        return b""
