# SPDX-License-Identifier: GPL-2.0-or-later
"""Why disks and network cards cannot be given to a domain: all reasons, before anything is built.  Pure.

What only the host knows (a missing file, a missing bridge) is asked by way of `HostDevices`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from openxt_xen.hypervisor import Kind
from openxt_xenvm.config.model import Disk, DomainConfig, Nic, PciAddress
from openxt_xenvm.devices.numbers import device_number
from openxt_xenvm.devices.pci import double_uses

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z", re.ASCII | re.IGNORECASE)
MULTICAST = 0x01  # in the first byte


@dataclass(frozen=True)
class HostDevices:
    """What of the host the checks need; `disk_problem` answers "" for a disk that can be opened."""

    disk_problem: Callable[[Disk], str] = lambda _: ""
    bridges: Sequence[str] = ()
    pci_problem: Callable[[PciAddress], str] = lambda _: ""
    has_domain: Callable[[int], bool] = lambda _: True  # which could serve backends
    pci_taken: Mapping[str, int] = field(default_factory=dict)  # address: the domain that has it


def not_built_yet(config: DomainConfig) -> Iterator[str]:
    """Every disk that asks for a part which does not exist yet."""
    for disk in config.disk:
        if disk.type == "vdi":
            yield f"disk {disk.virtpath} of type vdi (the storage daemon)"


def _pci_mistakes(config: DomainConfig, host: HostDevices) -> Iterator[str]:
    yield from double_uses(config.pci)
    if config.pci and config.kind is Kind.PVH:
        yield "pci: Xen 4.17 gives PCI devices to pv and hvm domains only"
    if len({device.group for device in config.pci}) > 1 and config.kind is Kind.PV:
        yield "pci: Linux takes one group of devices only; give all the same number"
    for device in config.pci:
        if problem := host.pci_problem(device.address):
            yield f"pci {device.address}: {problem}"
        if str(device.address) in host.pci_taken:
            yield f"pci {device.address}: domain {host.pci_taken[str(device.address)]} has it"


def mistakes(config: DomainConfig, host: HostDevices) -> Iterator[str]:
    """Each names its key, and the disk or card."""
    yield from _disk_mistakes(config.disk, host)
    yield from _nic_mistakes(config.nic, host)
    yield from _pci_mistakes(config, host)


def _disk_mistakes(disks: Sequence[Disk], host: HostDevices) -> Iterator[str]:
    taken: dict[int, str] = {}
    for disk in disks:
        try:
            number = device_number(disk.virtpath)
        except ValueError as error:
            yield f"disk {disk.virtpath}: {error}"
            continue
        if number in taken:
            yield f"disk {disk.virtpath}: has the number of disk {taken[number]}"
        taken[number] = disk.virtpath
        if disk.backend_domid and not host.has_domain(disk.backend_domid):
            yield f"disk {disk.virtpath}: there is no domain {disk.backend_domid} to serve it"
        if disk.backend_domid or (disk.is_cdrom and not disk.path):
            continue  # another domain's, or a drive without a disc
        if problem := host.disk_problem(disk):
            yield f"disk {disk.virtpath}: {problem}"


def _nic_mistakes(nics: Sequence[Nic], host: HostDevices) -> Iterator[str]:
    taken: dict[str, int | None] = {}
    for nic in nics:
        if problem := mac_problem(nic.mac):
            yield f"nic {nic.id}: {problem}"
        elif nic.mac.lower() in taken:
            yield f"nic {nic.id}: has the mac of nic {taken[nic.mac.lower()]}, {nic.mac}"
        taken[nic.mac.lower()] = nic.id
        if nic.backend_domid and not host.has_domain(nic.backend_domid):
            yield f"nic {nic.id}: there is no domain {nic.backend_domid} to serve it"
        if nic.backend_domid or (nic.network and not nic.bridge):
            continue  # connected by others
        if not nic.bridge:
            yield f"nic {nic.id}: the host has no bridge"
        elif nic.bridge not in host.bridges:
            yield f"nic {nic.id}: the host has no bridge {nic.bridge}"


def mac_problem(mac: str) -> str:
    """ "" for the hardware address of one card."""
    if not _MAC.match(mac):
        return f"{mac[:60]!r} is not a mac: six pairs of hexadecimal digits with colons between"
    if int(mac[:2], 16) & MULTICAST:
        return f"mac {mac} is a multicast address"
    return f"mac {mac} is no address" if set(mac) <= set("0:") else ""
