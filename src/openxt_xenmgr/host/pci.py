# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's PCI devices by way of sysfs: what there is, and taking one from its driver for pciback.

Blocks.  Everything lies below the root of `Places`, so that a private host has devices of its own.
Source: Linux, sysfs-bus-pci and drivers/xen/xen-pciback/pci_stub.c.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from openxt_core.places import Places
from openxt_xenmgr.vm.pci_choice import HostDevice

log = logging.getLogger(__name__)

PCIBACK = "pciback"
NAMES = ("/usr/share/pci.ids", "/usr/share/misc/pci.ids")


def inventory(places: Places) -> list[HostDevice]:
    """Every device, ascending address; read anew each time, as devices come and go."""
    try:
        found = sorted(places.at("/sys/bus/pci/devices").iterdir())
    except OSError:
        return []
    names = _names(places) if found else {}
    return [_device(path, names) for path in found]


def _device(path: Path, names: dict[str, str]) -> HostDevice:
    vendor, device = _hex_of(path / "vendor"), _hex_of(path / "device")
    unknown = f"Unknown device ({vendor:04x}:{device:04x})"
    name = names.get(f"{vendor:04x}:{device:04x}", unknown)
    is_primary = _hex_of(path / "boot_vga") == 1
    return HostDevice(path.name, _hex_of(path / "class") >> 8, vendor, device, name, is_primary)


def _hex_of(path: Path) -> int:
    try:
        return int(path.read_text().strip(), 16)
    except (OSError, ValueError):
        return 0


def _names(places: Places) -> dict[str, str]:
    """`vvvv:dddd` → vendor and device name, from the first pci.ids there is."""
    names: dict[str, str] = {}
    vendor_id = vendor = ""
    for line in _first_text(places.at(path) for path in NAMES).splitlines():
        if line.startswith("C "):
            break
        if line[:1] not in ("#", "\t", ""):
            vendor_id, _, vendor = line.partition("  ")
        elif line.startswith("\t") and not line.startswith("\t\t"):
            device_id, _, device = line.strip().partition("  ")
            names[f"{vendor_id}:{device_id}"] = f"{vendor} {device}"
    return names


def _first_text(paths: Iterable[Path]) -> str:
    for path in paths:
        try:
            return path.read_text(errors="replace")
        except OSError:
            continue
    return ""


# pciback


def hide(places: Places, addresses: Iterable[str]) -> None:
    """Have pciback hold these devices, so that no driver of dom0 does.  What fails is logged.

    Without pciback nothing is touched: a device without any driver would serve nobody.
    """
    wanted = tuple(addresses)
    drivers = places.at("/sys/bus/pci/drivers")
    if wanted and not (drivers / PCIBACK).is_dir():
        log.warning("dom0 has no pciback (modprobe xen-pciback): its drivers keep %s", ", ".join(wanted))
        return
    for address in wanted:
        try:
            _hide(places.at("/sys/bus/pci/devices") / address, drivers)
        except OSError as error:
            log.error("PCI device %s is not taken for pciback: %s", address, error)


def _hide(device: Path, drivers: Path) -> None:
    driver = _driver(device)
    if driver == PCIBACK:
        return
    if driver:
        (drivers / driver / "unbind").write_text(device.name)
    (drivers / PCIBACK / "new_slot").write_text(device.name)
    if _driver(device) != PCIBACK:
        (drivers / PCIBACK / "bind").write_text(device.name)
    log.info("PCI device %s: pciback has it now, in place of %s", device.name, driver or "no driver")


def _driver(device: Path) -> str:
    """Empty for none."""
    link = device / "driver"
    return Path(os.path.realpath(link)).name if link.exists() else ""
