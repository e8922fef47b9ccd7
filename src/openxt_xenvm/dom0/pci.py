# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI devices of the real control domain, by way of sysfs.

Source: Linux, drivers/xen/xen-pciback/pci_stub.c.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from openxt_xenvm.config.model import PciAddress
from openxt_xenvm.devices.pci import PCIBACK, Hardware, resources
from openxt_xenvm.errors import DeviceError


@dataclass(frozen=True)
class PciFolder:
    """Blocks.  Raises DeviceError."""

    sys: Path = Path("/sys")

    def problem(self, address: PciAddress) -> str:
        """Why a device cannot be given away; "" when it can."""
        if not self._device(address).exists():
            return "the host has no such device"
        if not self._pciback.exists():
            return "dom0 has no pciback (modprobe xen-pciback)"
        return ""

    def driver(self, address: PciAddress) -> str:
        """ "" for none."""
        link = self._device(address) / "driver"
        return Path(os.path.realpath(link)).name if link.exists() else ""

    def hide(self, address: PciAddress) -> None:
        if self.driver(address):
            self._write(self._device(address) / "driver/unbind", address)
        self._write(self._pciback / "new_slot", address)
        self._write(self._pciback / "bind", address)

    def give_back(self, address: PciAddress, driver: str) -> None:
        if self.driver(address) == PCIBACK:
            self._write(self._pciback / "unbind", address)
        self._write(self._pciback / "remove_slot", address)
        if driver:
            self._write(self.sys / "bus/pci/drivers" / driver / "bind", address)

    def reset(self, address: PciAddress) -> None:
        """By pciback where it can (as in OpenXT's kernel), else by the kernel."""
        special = self._pciback / "reset_device"
        if special.exists():
            self._write(special, address)
        else:
            self._write_text(self._device(address) / "reset", "1")

    def allow_interrupts(self, address: PciAddress) -> None:
        """Older kernels (before Linux 5.6) can only allow all of its configuration space."""
        own = self._pciback / "allow_interrupt_control"
        self._write(own if own.exists() else self._pciback / "permissive", address)

    def hardware(self, address: PciAddress) -> Hardware:
        folder = self._device(address)
        try:
            found = tuple(resources((folder / "resource").read_text()))
            return Hardware(found, int((folder / "irq").read_text()))
        except (OSError, ValueError) as error:
            raise DeviceError(f"pci {address}: {error}") from error

    @property
    def _pciback(self) -> Path:
        return self.sys / "bus/pci/drivers" / PCIBACK

    def _device(self, address: PciAddress) -> Path:
        return self.sys / "bus/pci/devices" / str(address)

    def _write(self, file: Path, address: PciAddress) -> None:
        self._write_text(file, str(address))

    def _write_text(self, file: Path, text: str) -> None:
        try:
            file.write_text(text)
        except OSError as error:
            raise DeviceError(f"writing {text} to {file}: {error.strerror}") from error
