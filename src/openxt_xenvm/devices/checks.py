# SPDX-License-Identifier: GPL-2.0-or-later
"""Why disks and network cards cannot be given to a domain: all reasons, before anything is built.  Pure.

What only the host knows (a missing file, a missing bridge) is asked by way of `HostDevices`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from openxt_xenvm.config.model import Disk, DomainConfig, Nic
from openxt_xenvm.devices.numbers import device_number

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z", re.ASCII | re.IGNORECASE)
MULTICAST = 0x01  # in the first byte

TAP_TYPES = frozenset({"qcow", "vhd", "aio"})


@dataclass(frozen=True)
class HostDevices:
    """What of the host the checks need; `disk_problem` answers "" for a disk that can be opened."""

    disk_problem: Callable[[Disk], str] = lambda _: ""
    bridges: Sequence[str] = ()


def not_built_yet(config: DomainConfig) -> Iterator[str]:
    """Every disk and card that asks for a part which does not exist yet."""
    for disk in config.disk:
        yield from _disk_not_built(disk)
    for nic in config.nic:
        if nic.backend_domid:
            yield f"nic {nic.id} with backend-domid={nic.backend_domid}"
        elif nic.is_wireless:
            yield f"nic {nic.id} with wireless=true"
        elif nic.network and not nic.bridge:
            yield f"nic {nic.id} with a network and no bridge (the network daemon)"


def _disk_not_built(disk: Disk) -> Iterator[str]:
    if disk.type in TAP_TYPES:
        yield f"disk {disk.virtpath} of type {disk.type} (tap support)"
    elif disk.type == "vdi":
        yield f"disk {disk.virtpath} of type vdi (tap support and the storage daemon)"
    if disk.snapshot:
        yield f"disk {disk.virtpath} with snapshot mode {disk.snapshot}"
    if disk.backend_domid:
        yield f"disk {disk.virtpath} with backend-domid={disk.backend_domid}"
    if disk.key_file or disk.key_dirs:
        yield f"disk {disk.virtpath} with encryption keys"


def mistakes(config: DomainConfig, host: HostDevices) -> Iterator[str]:
    """Each names its key, and the disk or card."""
    yield from _disk_mistakes(config.disk, host)
    yield from _nic_mistakes(config.nic, host)


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
