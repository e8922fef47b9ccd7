# SPDX-License-Identifier: GPL-2.0-or-later
"""Which devices of the host a VM's rules mean, and which of them it was not given before.  Pure.

A rule goes by numbers, or by an address, and after a change to the machine the same rule can mean another
device.  So what each rule has meant is kept (`Seen`), and a device that is new to a rule has drifted in: it
is not handed over before somebody confirms it.  A rule that has never been started with is taken at its word.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from openxt_xenmgr.vm.passthrough import AddressRule, MatchRule, PciRule
from openxt_xenmgr.vm.xenvm_config import PciDevice

Seen: TypeAlias = Mapping[str, Sequence[str]]
"""Text of a rule → the devices that it has meant, each as `HostDevice.identity` says it."""


INTEL, INTEL_GRAPHICS = 0x8086, (0x0300, 0x0380)


@dataclass(frozen=True, slots=True)
class HostDevice:
    """Source of the numbers: Linux, sysfs-bus-pci; `pci_class` without the programming interface."""

    address: str  # dddd:bb:ss.f
    pci_class: int
    vendor: int
    device: int
    name: str = ""
    is_primary_vga: bool = False  # the card that the firmware has used

    @property
    def is_secondary_intel_graphics(self) -> bool:
        """One that cannot be passed through beside another card."""
        is_graphics = self.pci_class in INTEL_GRAPHICS
        return self.vendor == INTEL and is_graphics and not self.is_primary_vga

    @property
    def slot(self) -> int:
        return int(self.address.rpartition(":")[2].partition(".")[0], 16)

    @property
    def identity(self) -> str:
        """Where it is and what it is: another card in the same place is another device."""
        return f"{self.address} {self.pci_class:04x} {self.vendor:04x}:{self.device:04x}"

    def record(self) -> dict[str, str]:
        """As clients are told of it."""
        return {
            "addr": self.address,
            "name": self.name,
            "class": f"0x{self.pci_class:X}",
            "vendor-id": f"0x{self.vendor:X}",
            "device-id": f"0x{self.device:X}",
        }


@dataclass(frozen=True, slots=True)
class Match:
    """One device by one rule."""

    rule: str
    device: HostDevice
    guest_slot: int | None


@dataclass(frozen=True, slots=True)
class Choice:
    """What rules mean on a host."""

    rules: tuple[str, ...]
    matches: tuple[Match, ...]

    @property
    def absent(self) -> tuple[str, ...]:
        """Addresses that rules name and the host does not have."""
        found = {match.rule for match in self.matches}
        return tuple(rule for rule in self.rules if rule.startswith("bdf=") and rule not in found)

    @property
    def devices(self) -> tuple[HostDevice, ...]:
        """Each once, ascending address."""
        found = {match.device.address: match.device for match in self.matches}
        return tuple(found[address] for address in sorted(found))


def card_rules(gpu: str, devices: Sequence[HostDevice]) -> tuple[AddressRule, ...]:
    """What a `gpu` that is an address means: the card, with the other functions in its slot (its sound)."""
    slot = gpu.rpartition(".")[0]
    there = [device.address for device in devices if device.address.rpartition(".")[0] == slot]
    return tuple(AddressRule(address) for address in dict.fromkeys([gpu, *there]))


def choose(rules: Iterable[PciRule], devices: Sequence[HostDevice]) -> Choice:
    """Every device that any of the rules means."""
    asked = tuple(rules)
    matches = (
        Match(str(rule), device, _guest_slot(rule, device))
        for rule in asked
        for device in devices
        if _means(rule, device)
    )
    return Choice(tuple(dict.fromkeys(map(str, asked))), tuple(matches))


def _means(rule: PciRule, device: HostDevice) -> bool:
    if isinstance(rule, AddressRule):
        return rule.address == device.address
    wanted = ((rule.pci_class, device.pci_class), (rule.vendor, device.vendor), (rule.device, device.device))
    return all(want is None or want == have for want, have in wanted)


def _guest_slot(rule: PciRule, device: HostDevice) -> int | None:
    if isinstance(rule, MatchRule):
        return device.slot if rule.force_slot else None
    return rule.guest_slot


def drifted(choice: Choice, seen: Seen) -> tuple[Match, ...]:
    """What a rule means now and did not mean before; nothing of a rule that is new."""
    return tuple(
        match
        for match in choice.matches
        if match.rule in seen and match.device.identity not in seen[match.rule]
    )


def granted(choice: Choice, seen: Seen) -> Choice:
    """The choice without what has drifted in.  A device that another rule means all the same stays."""
    held_back = drifted(choice, seen)
    return Choice(choice.rules, tuple(match for match in choice.matches if match not in held_back))


def seen_after(choice: Choice, seen: Seen) -> dict[str, list[str]]:
    """What is kept after `choice` was handed over or confirmed.

    A device that is away now stays known to its rule; a rule that is gone is forgotten.
    """
    found = {rule: list(seen.get(rule, ())) for rule in choice.rules}
    for match in choice.matches:
        if match.device.identity not in found[match.rule]:
            found[match.rule].append(match.device.identity)
    return found


def to_pass(choice: Choice) -> tuple[PciDevice, ...]:
    """The devices as xenvm is told of them; the first rule that names a slot for the guest decides it."""
    slots = {match.device.address: match.guest_slot for match in reversed(choice.matches) if _has_slot(match)}
    return tuple(PciDevice(device.address, slots.get(device.address)) for device in choice.devices)


def _has_slot(match: Match) -> bool:
    return match.guest_slot is not None
