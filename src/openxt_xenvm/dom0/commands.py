# SPDX-License-Identifier: GPL-2.0-or-later
"""The real control domain: ip of iproute2, what the kernel tells in /sys, and the ways of `attaching`."""

import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openxt_core.ids import Uuid
from openxt_xenvm.config.model import Disk
from openxt_xenvm.devices.backing import Attachment, Layer, layers
from openxt_xenvm.devices.inquiries import whole_name
from openxt_xenvm.devices.vbd import Inquiry
from openxt_xenvm.dom0.attaching import DIFFERENCE_MAKER, NO_UUID, attachers, format_of, has_tap, key_of
from openxt_xenvm.dom0.pci import PciFolder
from openxt_xenvm.dom0.programs import PATH, run
from openxt_xenvm.domain.hardware import Firmware
from openxt_xenvm.errors import DeviceError

NEEDED = {
    Layer.LOOP: ("losetup", "mount"),
    Layer.IMAGE: ("qemu-nbd", "qemu-utils"),
    Layer.SNAPSHOT: ("qemu-img", "qemu-utils"),
    Layer.CRYPT: ("cryptsetup", "cryptsetup-bin"),
    Layer.SCRIPTED: (DIFFERENCE_MAKER, ""),
}
"""The program of a layer, and Debian's package that has it."""


CENSORED = "/dev/mapper/censored"
PAGES = (("default", "inquiry"), ("0x80", "vpd_pg80"), ("0x83", "vpd_pg83"))
"""Of a SCSI disk, and Linux's files of them.  Without the first two, the last is of no use."""

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

    @property
    def pci(self) -> PciFolder:
        return PciFolder(self.sys)

    def disk_problem(self, disk: Disk) -> str:
        return next(self._problems(disk), "")

    def _problems(self, disk: Disk) -> Iterator[str]:
        try:
            mode = Path(disk.path).stat().st_mode
        except (OSError, ValueError) as error:
            yield f"cannot open {disk.path}: {getattr(error, 'strerror', error)}"
            return
        if disk.type == "phy" and not stat.S_ISBLK(mode):
            yield f"{disk.path} is not a block device"
        if disk.type != "phy" and not stat.S_ISREG(mode):
            yield f"{disk.path} is not a regular file"
        if not os.access(disk.path, os.R_OK | (os.W_OK if disk.writable else 0)):
            yield f"cannot {'write' if disk.writable else 'read'} {disk.path}"
        yield from self._layer_problems(disk)

    def _layer_problems(self, disk: Disk) -> Iterator[str]:
        below = layers(disk)
        for layer in below:
            program, package = NEEDED[layer]
            if not shutil.which(program, path=PATH) and not (layer is Layer.IMAGE and has_tap()):
                yield f"{program} is missing{f' (Debian: {package})' if package else ''}"
        if disk.key_file and not Path(key_of(disk)).is_file():
            yield f"cannot open its key {disk.key_file}"
        if Layer.IMAGE in below and not has_tap():
            try:
                format_of(disk.type, disk.path)
            except DeviceError as error:
                yield str(error.arguments[0])

    def real_path(self, file: str) -> str:
        return os.path.realpath(file)

    def propose(self, layer: Layer, disk: Disk, source: str) -> str:
        return attachers(self.sys, NO_UUID)[layer].propose(disk, source)

    def attach(self, made: Attachment, disk: Disk, uuid: Uuid) -> str:
        return attachers(self.sys, uuid)[Layer(made.layer)].attach(disk, made.source, made.device)

    def detach(self, made: Attachment) -> None:
        attachers(self.sys, NO_UUID)[Layer(made.layer)].detach(made)

    def device_number(self, device: str) -> tuple[int, int]:
        try:
            found = Path(device).stat()
        except OSError as error:
            raise DeviceError(f"cannot open {device}: {error.strerror}") from error
        return os.major(found.st_rdev), os.minor(found.st_rdev)

    def inquiries(self, device: str, number: tuple[int, int]) -> Sequence[Inquiry]:
        """As Linux read them when it found the disk; those of the first disk for one that is hidden.

        Source: Linux, drivers/scsi/scsi_sysfs.c; the name: OpenXT xenops, 2015.
        """
        name = "block/sda" if device == CENSORED else f"dev/block/{number[0]}:{number[1]}"
        folder = self.sys / name / "device"
        found = {page: _bytes(folder / file) for page, file in PAGES}
        found["default"] = whole_name(found["default"], found["0x83"])
        said = [inquiry for inquiry in found.items() if inquiry[1]]
        return said if found["default"] and found["0x80"] else []

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
        run("ip", "link", "set", "dev", interface, "master", bridge)
        run("ip", "link", "set", "dev", interface, "up")

    def leave_bridge(self, interface: str) -> None:
        run("ip", "link", "set", "dev", interface, "nomaster")


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
