# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of the control domain on behalf of a domain and its devices.  A promise, kept in other files.

Calls block: they are made in the worker thread.  All raise DeviceError when the host refuses.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from openxt_core.places import Places
from openxt_xenvm.config.model import Disk
from openxt_xenvm.domain.hardware import Firmware

SIMULATED = "simulated:"


class Keeper(Protocol):
    def disk_problem(self, disk: Disk) -> str:
        """Why a disk of type phy or file cannot be opened as its mode wants; "" when it can."""

    def free_loop(self) -> str:
        """The path of a loop device that nobody uses yet."""

    def real_path(self, file: str) -> str:
        """The file's own name, whatever links lead to it."""

    def attach_loop(self, device: str, file: str, *, writable: bool) -> bool:
        """Put a loop device in front of a file, given by its real path.

        False when somebody else has taken the device meanwhile.
        """

    def detach_loop(self, device: str, file: str) -> None:
        """Take it away again.  One that stands before another file, or before none, is left alone."""

    def device_number(self, device: str) -> tuple[int, int]:
        """Major and minor of a block device."""

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


def open_keeper(environ: Mapping[str, str]) -> Keeper:
    """The simulated one beside a simulated hypervisor, which needs no root."""
    if environ.get("OPENXT_HYPERVISOR", "").startswith(SIMULATED):
        from openxt_xenvm.dom0.simulated import SimulatedKeeper

        return SimulatedKeeper(Places.of(environ).run / "xenvm" / "dom0")
    from openxt_xenvm.dom0.commands import CommandKeeper

    return CommandKeeper()
