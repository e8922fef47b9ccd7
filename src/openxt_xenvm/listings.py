# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of devices as text, column by column as clients parse them.  Pure."""

from collections.abc import Iterable

from openxt_xenvm.config.model import Disk, DomainConfig, Nic, PciDevice

NIC_HEADER = " id |         network         |       mac         | model"
DISK_HEADER = "physpath | type | virtpath | mode | devtype | snapshot"
PCI_HEADER = "pci-dom | bus | slot | func | bind | msi-trans | power-mgmt | guest-slot"


def nics(config: DomainConfig) -> str:
    return "\n".join([NIC_HEADER, *map(_nic, config.nic)])


def _nic(nic: Nic) -> str:
    return f"{nic.id:>3} |{nic.network:>24} |{nic.mac:>18} |{nic.model:>30}"


def disks(config: DomainConfig) -> str:
    """As many words a line as the config file has, in its order."""
    return "\n".join([DISK_HEADER, *(" | ".join(_disk_words(disk)) for disk in config.disk)])


def _disk_words(disk: Disk) -> tuple[str, ...]:
    mode, devtype = "w" if disk.writable else "r", "cdrom" if disk.is_cdrom else "disk"
    return (disk.path, disk.type, disk.virtpath, mode, devtype, disk.snapshot or "none")


def device_disks(config: DomainConfig) -> str:
    """As the task `device` tells them.  Source: OpenXT xenvm, 2015."""
    names = ("physpath", "type", "virtpath", "mode", "devtype")
    return "\n".join(
        ", ".join(f"{name}: {word}" for name, word in zip(names, _disk_words(disk), strict=False))
        for disk in config.disk
    )


def device_nics(config: DomainConfig) -> str:
    return "\n".join(f"id: {nic.id}, network:{nic.network}, mac:{nic.mac}" for nic in config.nic)


def device_pci(config: DomainConfig) -> str:
    """By group, each with its devices."""
    found = []
    for number in dict.fromkeys(device.group for device in config.pci):
        found.append(f"id:{number}")
        addresses = (device.address for device in config.pci if device.group == number)
        found += (f"  domain:{a.domain}, bus:{a.bus}, slot: {a.slot}, func: {a.function}" for a in addresses)
    return "\n".join(found)


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
