# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of devices as text, column by column as clients parse them.  Pure."""

from collections.abc import Iterable

from openxt_xenvm.config.model import DomainConfig, Nic, PciDevice

NIC_HEADER = " id |         network         |       mac         | model"
PCI_HEADER = "pci-dom | bus | slot | func | bind | msi-trans | power-mgmt | guest-slot"


def nics(config: DomainConfig) -> str:
    return "\n".join([NIC_HEADER, *map(_nic, config.nic)])


def _nic(nic: Nic) -> str:
    return f"{nic.id:>3} |{nic.network:>24} |{nic.mac:>18} |{nic.model:>30}"


def pci_devices(devices: Iterable[PciDevice]) -> str:
    """Those the domain was really given at its start."""
    return "\n".join([PCI_HEADER, *map(_pci, devices)])


def _pci(device: PciDevice) -> str:
    address = device.address
    slot = "" if device.guest_slot is None else str(device.guest_slot)
    cells = (
        address.domain,
        address.bus,
        address.slot,
        address.function,
        "y" if device.bind else "n",
        -1 if device.msitranslate is None else device.msitranslate,
        -1 if device.power_mgmt is None else device.power_mgmt,
        slot,
    )
    return " | ".join(map(str, cells))
