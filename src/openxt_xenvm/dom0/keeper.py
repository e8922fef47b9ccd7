# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of the control domain on behalf of a domain and its devices.  A promise, kept in other files.

Calls block: they are made in the worker thread.  All raise DeviceError when the host refuses.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from openxt_core.ids import Uuid
from openxt_core.places import Places
from openxt_xenvm.config.model import Disk, PciAddress
from openxt_xenvm.devices.backing import Attachment, Layer
from openxt_xenvm.devices.pci import Hardware
from openxt_xenvm.devices.vbd import Inquiry
from openxt_xenvm.domain.hardware import Firmware

SIMULATED = "simulated:"


class PciKeeper(Protocol):
    def problem(self, address: PciAddress) -> str:
        """Why a device cannot be given away; "" when it can."""

    def driver(self, address: PciAddress) -> str:
        """Of dom0; "" for none."""

    def hide(self, address: PciAddress) -> None:
        """Take it from its driver, for pciback."""

    def give_back(self, address: PciAddress, driver: str) -> None:
        """From pciback to its driver, if it had one."""

    def reset(self, address: PciAddress) -> None:
        """As if it had been switched off."""

    def allow_interrupts(self, address: PciAddress) -> None:
        """The domain that has it from pciback may switch its interrupts, as device models do."""

    def hardware(self, address: PciAddress) -> Hardware: ...


class Keeper(Protocol):
    @property
    def pci(self) -> PciKeeper: ...

    def disk_problem(self, disk: Disk) -> str:
        """Why a disk cannot be opened as its type and mode want; "" when it can."""

    def real_path(self, file: str) -> str:
        """The file's own name, whatever links lead to it."""

    def propose(self, layer: Layer, disk: Disk, source: str) -> str:
        """The device that the layer would make of `source`.  Makes nothing."""

    def attach(self, made: Attachment, disk: Disk, uuid: Uuid) -> str:
        """Make it: the device, which may differ from the proposed one; "" when it is taken meanwhile."""

    def detach(self, made: Attachment) -> None:
        """Take it away again.  One that was never made, or stands before something else, is left alone."""

    def device_number(self, device: str) -> tuple[int, int]:
        """Major and minor of a block device."""

    def inquiries(self, device: str, number: tuple[int, int]) -> Sequence[Inquiry]:
        """What a SCSI disk says of itself; nothing for other devices."""

    def kernel_problem(self, path: str) -> str:
        """Why a file can be no kernel; "" when it may be one."""

    def is_linux(self, path: str) -> bool:
        """Whether a device model can load it as a Linux kernel; else it is a loader of firmware."""

    def firmware(self) -> Firmware:
        """What starts an HVM domain.  The error says which package has it."""

    def device_model(self, wanted: str) -> tuple[str, ...]:
        """The command that starts a stock QEMU: `wanted` if it is one.  The error names its package."""

    def default_nic_model(self) -> str:
        """Of emulated cards that name none; "" where the host has no wish."""

    def acpi_table(self) -> bytes:
        """The host's SLIC table; empty when it has none."""

    def smbios_tables(self) -> bytes:
        """The host's SMBIOS structures; empty when it has none."""

    def processor_vendor(self) -> str:
        """As CPUID says it."""

    def bridges(self) -> Sequence[str]:
        """Names, in alphabetical order."""

    def has_interface(self, interface: str) -> bool: ...

    def join_bridge(self, interface: str, bridge: str) -> None:
        """Put an interface on a bridge and up."""

    def leave_bridge(self, interface: str) -> None:
        """Take an interface off its bridge, if it is on one."""


def open_keeper(environ: Mapping[str, str]) -> Keeper:
    """The simulated one beside a simulated hypervisor, which needs no root."""
    if environ.get("OPENXT_HYPERVISOR", "").startswith(SIMULATED):
        from openxt_xenvm.dom0.simulated import SimulatedKeeper

        return SimulatedKeeper(Places.of(environ).run / "xenvm" / "dom0")
    from openxt_xenvm.dom0.commands import CommandKeeper

    return CommandKeeper()
