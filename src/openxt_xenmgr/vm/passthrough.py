# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI passthrough rules of a VM: read, written and stored.  Pure; matching them to devices comes later.

A rule matches devices by class, vendor and device number, each of which may be left open, or names one
address, with the slot the guest shall see after `@` in hexadecimal.  Source: OpenXT xenmgr, 2015.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from openxt_core.errors import BadRequest
from openxt_xenmgr.vm.tree import Tree, flag, maybe_text, numbered, parse_int

_BDF = re.compile(
    r"(?P<address>[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])(?:\s*@\s*(?P<slot>[0-9a-f]{1,2}))?\Z",
    re.IGNORECASE,
)
ANY = ("", "any")
MAX_ID = 0xFFFF


@dataclass(frozen=True, slots=True)
class MatchRule:
    """None leaves a number open."""

    pci_class: int | None  # 16 bits: 0x0300, not sysfs's 24
    vendor: int | None
    device: int | None
    force_slot: bool = False

    def __str__(self) -> str:
        parts = (self.pci_class, self.vendor, self.device)
        shown = ["" if part is None else f"0x{part:04x}" for part in parts]
        return f"match class={shown[0]} vendor={shown[1]} device={shown[2]}"

    def same_match(self, other: "MatchRule") -> bool:
        mine = (self.pci_class, self.vendor, self.device)
        return mine == (other.pci_class, other.vendor, other.device)

    def record(self) -> dict[str, str]:
        fields = {"class": self.pci_class, "vendor": self.vendor, "device": self.device}
        kept = {name: f"0x{value:04x}" for name, value in fields.items() if value is not None}
        return {**kept, "force-slot": "true"} if self.force_slot else kept


@dataclass(frozen=True, slots=True)
class AddressRule:
    address: str
    guest_slot: int | None = None

    def __str__(self) -> str:
        return f"bdf={self.address}" + ("" if self.guest_slot is None else f" @ {self.guest_slot:x}")

    def record(self) -> dict[str, str]:
        slot = "" if self.guest_slot is None else f"@{self.guest_slot:x}"
        return {"bdf": self.address + slot}


PciRule = MatchRule | AddressRule


def parse_address_rule(text: str) -> AddressRule:
    """`dddd:bb:ss.f`, optionally `@<guest slot>`.  Raises BadRequest."""
    found = _BDF.match(text.strip())
    if found is None:
        raise BadRequest(f"not a PCI address: {text[:60]!r} (expected dddd:bb:ss.f or dddd:bb:ss.f@slot)")
    slot = found["slot"]
    return AddressRule(found["address"].lower(), None if slot is None else int(slot, 16))


def parse_match_rule(pci_class: str, vendor: str, device: str) -> MatchRule:
    """Each a decimal or 0x number, or empty or `any`.  Raises BadRequest naming the bad one."""
    return MatchRule(_number("class", pci_class), _number("vendor", vendor), _number("device", device))


def _number(what: str, text: str) -> int | None:
    if text.strip().lower() in ANY:
        return None
    found = parse_int(text)
    if found is None or not 0 <= found <= MAX_ID:
        raise BadRequest(f"PCI {what} {text[:60]!r} is not a number from 0 to 0x{MAX_ID:04x}, nor 'any'")
    return found


def rules_of(tree: Tree) -> dict[int, PciRule]:
    """The VM's rules by id, ascending.  A record that cannot be read is left out."""
    found: dict[int, PciRule] = {}
    for id, record in numbered(tree, "config/pci"):
        rule = _rule_of(record)
        if rule is not None:
            found[id] = rule
    return dict(sorted(found.items()))


def _rule_of(record: Tree) -> PciRule | None:
    bdf = maybe_text(record, "bdf")
    try:
        if bdf is not None:
            return parse_address_rule(bdf)
        names = ("class", "vendor", "device")
        rule = parse_match_rule(*(maybe_text(record, name) or "" for name in names))
    except BadRequest:
        return None
    return MatchRule(rule.pci_class, rule.vendor, rule.device, flag(record, "force-slot"))


def without_equal(rules: Mapping[int, PciRule], rule: PciRule) -> list[int]:
    """The ids of the rules that `rule` deletes."""
    return [id for id, other in rules.items() if _equal(other, rule)]


def _equal(one: PciRule, other: PciRule) -> bool:
    if isinstance(one, MatchRule) and isinstance(other, MatchRule):
        return one.same_match(other)
    return one == other


def next_rule_id(used: Iterable[int]) -> int:
    """Highest + 1; the first is 1."""
    return max(used, default=0) + 1
