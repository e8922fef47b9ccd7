# SPDX-License-Identifier: GPL-2.0-or-later
"""The control domain of a simulated host: loop devices and bridges are files in one folder.

Other monitors see the same folder, and so does who comes after a monitor that was killed.  No root needed.

    loops/N, images/N, crypts/NAME   hold the path of what is below, or `r PATH` when it is read-only
    busy                while it is there, nothing can be detached
    pci/ADDRESS/        a device: files `driver`, `resource` and `irq` as in sysfs, and `resets`
    bridges/NAME/       the bridge's interfaces, as empty files
    alone/              those that were taken off their bridge
    tables/SLIC, DMI    the host's firmware tables, if a test puts some there
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from openxt_core.ids import Uuid
from openxt_xenvm.config.model import Disk, PciAddress
from openxt_xenvm.devices import backing
from openxt_xenvm.devices.backing import Attachment, Layer
from openxt_xenvm.devices.pci import PCIBACK, Hardware, resources
from openxt_xenvm.devices.vbd import Inquiry
from openxt_xenvm.domain.hardware import Firmware
from openxt_xenvm.errors import DeviceError

PREFIXES = {Layer.LOOP: "/dev/loop", Layer.IMAGE: "/dev/nbd"}
MAJORS = {7: "/dev/loop", 43: "/dev/nbd"}
OTHER_MAJOR = 8
HVMLOADER, BIOS = "hvmloader", "bios-256k.bin"
SIMULATED_QEMU = "openxt_sim.device_model"


@dataclass(frozen=True)
class SimulatedKeeper:
    folder: Path

    @property
    def loops(self) -> Path:
        return self.folder / "loops"

    @property
    def pci(self) -> "SimulatedPci":
        return SimulatedPci(self.folder / "pci")

    def disk_problem(self, disk: Disk) -> str:
        """Any file plays a block device, or an image of any format."""
        wanted = os.R_OK | (os.W_OK if disk.writable else 0)
        return "" if os.access(disk.path, wanted) else f"cannot open {disk.path}"

    def real_path(self, file: str) -> str:
        return os.path.realpath(file)

    def propose(self, layer: Layer, disk: Disk, source: str) -> str:
        if layer is Layer.SNAPSHOT:
            return backing.overlay_of(source)
        if layer is Layer.CRYPT:
            return backing.mapping_of(source)
        if layer is Layer.SCRIPTED:
            return source
        prefix = PREFIXES[layer]
        return next(f"{prefix}{number}" for number in count() if not self._file(f"{prefix}{number}").exists())

    def attach(self, made: Attachment, disk: Disk, uuid: Uuid) -> str:
        if made.layer == Layer.SNAPSHOT:
            Path(made.device).write_text(made.source)
        elif made.layer != Layer.SCRIPTED:
            return self._take(made, disk)
        return made.device

    def _take(self, made: Attachment, disk: Disk) -> str:
        if disk.path in self._refused():
            raise DeviceError(f"cannot attach {disk.path}")
        file = self._file(made.device)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = made.source if disk.writable else f"r {made.source}"
        return made.device if _make_whole(file, text) else ""

    def _refused(self) -> Sequence[str]:
        """What a real dom0's program would not take: an image, or an interface and its bridge."""
        refused = self.folder / "refused"
        return refused.read_text().splitlines() if refused.exists() else ()

    def detach(self, made: Attachment) -> None:
        if (self.folder / "busy").exists():
            raise DeviceError(f"{made.device} is busy")
        if made.layer == Layer.SNAPSHOT:
            Path(made.device).unlink(missing_ok=True)
        elif made.layer != Layer.SCRIPTED:
            file = self._file(made.device)
            if file.exists() and file.read_text().removeprefix("r ") == made.source:
                file.unlink()

    def _file(self, device: str) -> Path:
        for layer, prefix in PREFIXES.items():
            if device.startswith(prefix):
                return self.folder / f"{layer}s" / device.removeprefix(prefix)
        return self.folder / "crypts" / Path(device).name

    def device_number(self, device: str) -> tuple[int, int]:
        for major, prefix in MAJORS.items():
            if device.startswith(prefix):
                return major, int(device.removeprefix(prefix))
        return OTHER_MAJOR, 0

    def inquiries(self, device: str, number: tuple[int, int]) -> Sequence[Inquiry]:
        return [("default", b"simulated disk"), ("0x80", device.encode())]

    def kernel_problem(self, path: str) -> str:
        """Any file plays a kernel, but for an empty one and a script: the simulated builder says the same."""
        try:
            with Path(path).open("rb") as file:  # which may have no end
                head = file.read(2)
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
        """netback's are there as soon as it knows of them; others were on a bridge before."""
        return interface.startswith("vif") or any(self._places(interface))

    def join_bridge(self, interface: str, bridge: str) -> None:
        place = self.folder / "bridges" / bridge
        if not bridge or not place.is_dir():
            raise DeviceError(f"there is no bridge {bridge}")
        if f"{interface} {bridge}" in self._refused():
            raise DeviceError(f"cannot put {interface} on {bridge}")
        self._put(interface, place)

    def leave_bridge(self, interface: str) -> None:
        self._put(interface, self.folder / "alone")

    def _put(self, interface: str, place: Path) -> None:
        for other in self._places(interface):
            other.unlink()
        place.mkdir(parents=True, exist_ok=True)
        (place / interface).touch()

    def _places(self, interface: str) -> Iterator[Path]:
        """Where it is: one at most."""
        yield from (folder / interface for folder in self._bridges() if (folder / interface).exists())
        if (alone := self.folder / "alone" / interface).exists():
            yield alone


@dataclass(frozen=True)
class SimulatedPci:
    folder: Path

    def problem(self, address: PciAddress) -> str:
        return "" if (self.folder / str(address)).exists() else "the host has no such device"

    def driver(self, address: PciAddress) -> str:
        file = self._file(address, "driver")
        return file.read_text() if file.exists() else ""

    def hide(self, address: PciAddress) -> None:
        self._file(address, "driver").write_text(PCIBACK)

    def give_back(self, address: PciAddress, driver: str) -> None:
        self._file(address, "driver").write_text(driver)

    def reset(self, address: PciAddress) -> None:
        with self._file(address, "resets").open("a") as file:
            file.write("x")

    def allow_interrupts(self, address: PciAddress) -> None:
        self._file(address, "interrupts-allowed").touch()

    def hardware(self, address: PciAddress) -> Hardware:
        resource, irq = self._file(address, "resource"), self._file(address, "irq")
        return Hardware(tuple(resources(resource.read_text())), int(irq.read_text()))

    def _file(self, address: PciAddress, name: str) -> Path:
        return self.folder / str(address) / name


def _make_whole(file: Path, text: str) -> bool:
    """As the kernel makes a device: with all it is, or not at all.  False: somebody else has made it."""
    draft = file.parent.parent / f"draft-{os.getpid()}"
    draft.write_text(text)
    try:
        os.link(draft, file)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
