# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI devices given to a guest: what their backend, Linux's pciback, must read.  Pure.

One pair of ends holds a whole group.  Keys: Linux, drivers/xen/xen-pciback/xenbus.c; OpenXT xenops, 2015.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from openxt_xenvm.config.model import DomainConfig, PciAddress, PciDevice
from openxt_xenvm.devices.base import Device, Guest, XenbusState

STARTING = str(XenbusState.INITIALISING)
PCIBACK = "pciback"
"""The driver of dom0 that keeps devices for guests."""
PAGE = 4096
IO_RESOURCE = 0x1  # in the flags of a resource.  Source: Linux, include/linux/ioport.h
RESOURCES = 7  # six base addresses and the expansion ROM


@dataclass(frozen=True, slots=True)
class Resource:
    """`first` and `last`, both included, are I/O ports or byte addresses."""

    first: int
    last: int
    is_ports: bool

    @property
    def frames(self) -> tuple[int, int]:
        """First frame, and how many."""
        first = self.first // PAGE
        return first, self.last // PAGE - first + 1


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a device uses of the machine; `irq` 0: no interrupt line."""

    resources: tuple[Resource, ...] = ()
    irq: int = 0


def resources(text: str) -> Iterator[Resource]:
    """Of the file `resource` in sysfs: a line each, start, end and flags in hexadecimal."""
    for line in text.splitlines()[:RESOURCES]:
        first, last, flags = (int(word, 16) for word in line.split())
        if first:
            yield Resource(first, last, bool(flags & IO_RESOURCE))


def number_of(address: PciAddress) -> int:
    """As Xen counts devices.  Source: xen/include/public/domctl.h, machine_sbdf."""
    return address.domain << 16 | address.bus << 8 | address.slot << 3 | address.function


@dataclass(frozen=True)
class Pci(Device):
    """`power_mgmt` and `msitranslate` of the whole group are those of its first device, sic."""

    kind: ClassVar[str] = "pci"
    ready: ClassVar[frozenset[XenbusState]] = frozenset({XenbusState.INITIALISED, XenbusState.CONNECTED})

    members: tuple[PciDevice, ...] = ()
    msitranslate: int = 1
    power_mgmt: int = 1

    def frontend_keys(self, guest: Guest) -> dict[str, str]:
        return {"state": STARTING}

    def backend_keys(self, guest: Guest) -> dict[str, str]:
        return {
            "online": "1",
            **{f"dev-{at}": _name(member) for at, member in enumerate(self.members)},
            **{f"vdevfn-{at}": str(m.vdevfn) for at, m in enumerate(self.members) if m.vdevfn is not None},
            "num_devs": str(len(self.members)),
            "msitranslate": str(self.msitranslate),
            "power_mgmt": str(self.power_mgmt),
            "state": STARTING,
        }


def _name(member: PciDevice) -> str:
    """The address; behind `@` the slot that the guest shall see it in."""
    slot = "" if member.guest_slot is None else f"@{member.guest_slot:02x}"
    return f"{member.address}{slot}"


def groups(config: DomainConfig) -> tuple[Pci, ...]:
    """In the order of the config."""
    numbers = dict.fromkeys(device.group for device in config.pci)
    return tuple(group(config, number) for number in numbers)


def group(config: DomainConfig, number: int) -> Pci:
    members = tuple(device for device in config.pci if device.group == number)
    first = members[0]
    return Pci(
        number,
        members=members,
        msitranslate=config.pci_msitranslate if first.msitranslate is None else first.msitranslate,
        power_mgmt=config.pci_power_management if first.power_mgmt is None else first.power_mgmt,
    )


def must_bind(members: Sequence[PciDevice]) -> bool:
    """One member that is to be bound has its whole group bound."""
    return any(member.bind for member in members)


def double_uses(devices: Iterable[PciDevice]) -> Iterator[str]:
    seen: set[PciAddress] = set()
    for device in devices:
        if device.address in seen:
            yield f"pci {device.address}: is given twice"
        seen.add(device.address)
