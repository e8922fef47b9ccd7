# SPDX-License-Identifier: GPL-2.0-or-later
"""The control domain of a simulated host: loop devices and bridges are files in one folder.

Other monitors see the same folder, and so does who comes after a monitor that was killed.  No root needed.

    loops/N             holds the file's path, or `r PATH` when it is read-only
    bridges/NAME/       the bridge's interfaces, as empty files
    tables/SLIC, DMI    the host's firmware tables, if a test puts some there
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from openxt_xenvm.config.model import Disk
from openxt_xenvm.domain.hardware import Firmware
from openxt_xenvm.errors import DeviceError

LOOP_MAJOR, OTHER_MAJOR = 7, 8
LOOP_PREFIX = "/dev/loop"
HVMLOADER, BIOS = "hvmloader", "bios-256k.bin"
SIMULATED_QEMU = "openxt_sim.device_model"


@dataclass(frozen=True)
class SimulatedKeeper:
    folder: Path

    @property
    def loops(self) -> Path:
        return self.folder / "loops"

    def disk_problem(self, disk: Disk) -> str:
        """Any file plays a block device."""
        wanted = os.R_OK | (os.W_OK if disk.writable else 0)
        return "" if os.access(disk.path, wanted) else f"cannot open {disk.path}"

    def free_loop(self) -> str:
        return next(f"{LOOP_PREFIX}{number}" for number in count() if not (self.loops / str(number)).exists())

    def real_path(self, file: str) -> str:
        return os.path.realpath(file)

    def attach_loop(self, device: str, file: str, *, writable: bool) -> bool:
        self.loops.mkdir(parents=True, exist_ok=True)
        try:
            with self._loop(device).open("x") as opened:
                opened.write(file if writable else f"r {file}")
        except FileExistsError:
            return False
        return True

    def detach_loop(self, device: str, file: str) -> None:
        loop = self._loop(device)
        if loop.exists() and loop.read_text().removeprefix("r ") == file:
            loop.unlink()

    def _loop(self, device: str) -> Path:
        return self.loops / device.removeprefix(LOOP_PREFIX)

    def device_number(self, device: str) -> tuple[int, int]:
        if device.startswith(LOOP_PREFIX):
            return LOOP_MAJOR, int(device.removeprefix(LOOP_PREFIX))
        return OTHER_MAJOR, 0

    def kernel_problem(self, path: str) -> str:
        """Any file plays a kernel, but for an empty one and a script: the simulated builder says the same."""
        try:
            head = Path(path).read_bytes()[:2]
        except OSError as error:
            return f"cannot read {path}: {error.strerror}"
        return f"{path} is not a kernel" if head in (b"", b"#!") else ""

    def is_linux(self, path: str) -> bool:
        return Path(path).name != HVMLOADER

    def firmware(self) -> Firmware:
        """Files are made as they are asked for; nobody looks into them."""
        folder = self.folder / "firmware"
        folder.mkdir(parents=True, exist_ok=True)
        for name in (HVMLOADER, BIOS):
            (folder / name).write_text("simulated")
        return Firmware(str(folder / HVMLOADER), str(folder / BIOS))

    def device_model(self, wanted: str) -> tuple[str, ...]:
        """The stand-in of the simulated host, whatever is wanted: a program without a domain's memory."""
        return (sys.executable, "-m", SIMULATED_QEMU)

    def default_nic_model(self) -> str:
        return ""

    def acpi_table(self) -> bytes:
        return self._table("SLIC")

    def smbios_tables(self) -> bytes:
        return self._table("DMI")

    def _table(self, name: str) -> bytes:
        file = self.folder / "tables" / name
        return file.read_bytes() if file.exists() else b""

    def processor_vendor(self) -> str:
        return "AuthenticAMD"

    def bridges(self) -> Sequence[str]:
        return sorted(bridge.name for bridge in self._bridges())

    def _bridges(self) -> Iterator[Path]:
        yield from (self.folder / "bridges").glob("*")

    def has_interface(self, interface: str) -> bool:
        """netback's are there as soon as it knows of them."""
        return interface.startswith("vif")

    def join_bridge(self, interface: str, bridge: str) -> None:
        place = self.folder / "bridges" / bridge
        if not place.is_dir():
            raise DeviceError(f"there is no bridge {bridge}")
        for other in self._bridges():
            (other / interface).unlink(missing_ok=True)
        (place / interface).touch()
