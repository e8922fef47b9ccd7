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


def left_of(resource: Resource, others: Iterable[Resource]) -> Iterator[Resource]:
    """The parts of it that none of `others` has; of memory whole pages."""
    unit = 1 if resource.is_ports else PAGE
    parts = [(resource.first // unit, resource.last // unit)]
    for other in others:
        if other.is_ports is resource.is_ports:
            first, last = other.first // unit, other.last // unit
            sides = (((s, min(e, first - 1)), (max(s, last + 1), e)) for s, e in parts)
            parts = [(s, e) for pair in sides for s, e in pair if s <= e]
    yield from (Resource(start * unit, (end + 1) * unit - 1, resource.is_ports) for start, end in parts)


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
        entries = (entry(number, member) for number, member in enumerate(self.members))
        return {
            "online": "1",
            **{key: value for keys in entries for key, value in keys.items()},
            "num_devs": str(len(self.members)),
            "msitranslate": str(self.msitranslate),
            "power_mgmt": str(self.power_mgmt),
            "state": STARTING,
        }


def entry(number: int, member: PciDevice) -> dict[str, str]:
    """What the backend of a group says of one device."""
    slot = {} if member.vdevfn is None else {f"vdevfn-{number}": str(member.vdevfn)}
    return {f"dev-{number}": _name(member), **slot}


def entry_keys(number: int) -> tuple[str, ...]:
    """All that it may say of one, with what pciback adds."""
    return tuple(f"{word}-{number}" for word in ("dev", "vdevfn", "vdev", "state"))


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
