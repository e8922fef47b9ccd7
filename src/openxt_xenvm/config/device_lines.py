# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices as lines of the config file: what `lines` reads, it gives back.  Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from openxt_xenvm.config.lines import read_disk, read_nic, read_pci
from openxt_xenvm.config.model import Disk, DomainConfig, Nic, PciDevice

READERS: dict[str, Callable[[str], Any]] = {"disk": read_disk, "nic": read_nic, "pci": read_pci}


def device_lines(config: DomainConfig) -> tuple[str, ...]:
    """Every disk, network card and PCI device, in order."""
    return (
        *(f"disk = {disk_line(disk)}" for disk in config.disk),
        *(f"nic = {nic_line(nic)}" for nic in config.nic),
        *(f"pci = {pci_line(device)}" for device in config.pci),
    )


def with_devices(config: DomainConfig, found: Iterable[str]) -> DomainConfig:
    """The config with these devices instead of its own, or as it is when one of the lines cannot be read."""
    items: dict[str, list[Any]] = {"disk": [], "nic": [], "pci": []}
    try:
        for line in found:
            key, _, value = line.partition(" = ")
            items[key].append(READERS[key](value))
    except (ValueError, KeyError):
        return config
    disks, nics, pci = (tuple(items[key]) for key in ("disk", "nic", "pci"))
    return replace(config, disk=disks, nic=nics, pci=pci)


def disk_line(disk: Disk) -> str:
    mode, devtype = "w" if disk.writable else "r", "cdrom" if disk.is_cdrom else "disk"
    words = [disk.path, disk.type, disk.virtpath, mode, devtype, disk.snapshot]
    extras = {
        "backend-domid": disk.backend_domid or "",
        "key-file": disk.key_file,
        "cipher": disk.cipher if disk.key_file else "",
        "key-size": disk.key_size if disk.key_file else "",
        "key-dir": ",".join(disk.key_dirs),
    }
    return ":".join([*words, *_pairs(extras)])


def nic_line(nic: Nic) -> str:
    return ",".join(
        _pairs(
            {
                "id": "" if nic.id is None else nic.id,
                "network": nic.network,
                "bridge": nic.bridge,
                "model": nic.model,
                "mac": nic.mac,
                "wireless": "true" if nic.is_wireless else "",
                "backend-domid": nic.backend_domid or "",
            }
        )
    )


def pci_line(device: PciDevice) -> str:
    options = {
        name: "" if value is None else value
        for name, value in (
            ("msitranslate", device.msitranslate),
            ("power_mgmt", device.power_mgmt),
            ("guest_slot", device.guest_slot),
            ("vdevfn", device.vdevfn),
        )
    }
    bind = ("bind",) if device.bind else ()
    return ",".join([str(device.group), *bind, str(device.address), *_pairs(options)])


def _pairs(values: Mapping[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items() if value != ""]
