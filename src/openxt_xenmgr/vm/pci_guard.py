# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI devices of a VM on this host: what its rules mean now, what it may have, what somebody must confirm.

What rules have meant is one JSON text for each VM, outside its own tree: a VM that is changed back by the
database's undo does not get devices back that nobody confirmed.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from openxt_core.errors import (
    BadRequest,
    DeviceAlreadyPassedThrough,
    GraphicsNotSecondary,
    NoSuchDevice,
    OpenxtError,
    Refused,
)
from openxt_xenmgr.host import pci
from openxt_xenmgr.host.programs import output_of
from openxt_xenmgr.properties.vm import HDX
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.passthrough import rules_of
from openxt_xenmgr.vm.pci_choice import (
    Choice,
    Match,
    Seen,
    card_rules,
    choose,
    drifted,
    granted,
    seen_after,
    to_pass,
)
from openxt_xenmgr.vm.xenvm_config import PciDevice
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

QUIRKS = "/etc/pci-quirks.json"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a VM's rules mean now, and have meant."""

    choice: Choice
    seen: Seen

    @property
    def drifted(self) -> tuple[Match, ...]:
        return drifted(self.choice, self.seen)

    @property
    def granted(self) -> Choice:
        return granted(self.choice, self.seen)


def seen_key(vm: Vm) -> str:
    return f"/xenmgr/pci-seen/{vm.uuid}"


async def standing(world: World, vm: Vm, config: VmConfig) -> Standing:
    """The host is looked at only for a VM that has rules, or a graphics card by its address."""
    gpu, rules = config["gpu"].lower(), tuple(rules_of(config.tree).values())
    has_card = gpu not in ("", HDX)
    devices = await asyncio.to_thread(pci.inventory, world.places) if rules or has_card else []
    rules = (*(card_rules(gpu, devices) if has_card else ()), *rules)
    choice = choose(rules, devices)
    stored = await world.db.read(seen_key(vm)) if rules else ""
    return Standing(choice, _parse_seen(vm, choice, stored))


def _parse_seen(vm: Vm, choice: Choice, stored: str) -> Seen:
    """A record that cannot be read knows no device: all of them have to be confirmed."""
    if not stored:
        return {}
    try:
        return {str(rule): [str(one) for one in devices] for rule, devices in json.loads(stored).items()}
    except (ValueError, AttributeError, TypeError):
        log.error("VM %s: %s cannot be read; its PCI devices need a confirmation", vm.uuid, seen_key(vm))
        return {rule: [] for rule in choice.rules}


async def obstacles(world: World, vm: Vm, config: VmConfig) -> list[OpenxtError]:
    """What its devices have against a start: one that is absent, one that somebody must confirm."""
    now = await standing(world, vm, config)
    found: list[OpenxtError] = [
        NoSuchDevice(f"the host has no PCI device {rule}") for rule in now.choice.absent
    ]
    if now.drifted:
        changed = "; ".join(f"'{match.rule}' now means {match.device.identity}" for match in now.drifted)
        found.append(
            Refused(f"PCI devices changed since the last start: {changed}; confirm_devices allows them")
        )
    found += [
        GraphicsNotSecondary(f"{device.address} ({device.name}) cannot be passed through beside another GPU")
        for device in now.choice.devices
        if device.is_secondary_intel_graphics
    ]
    return found + await _in_use(world, vm, [device.address for device in now.choice.devices])


async def _in_use(world: World, vm: Vm, addresses: Sequence[str]) -> list[OpenxtError]:
    """Devices that another running VM has, of whatever type it is."""
    found: list[OpenxtError] = []
    for other in world.registry if addresses else ():
        if other is not vm and other.domid is not None:
            theirs = await standing(world, other, await world.store.config_or_none_set(other))
            for device in theirs.granted.devices:
                if device.address in addresses:
                    found.append(DeviceAlreadyPassedThrough(f'VM {other.uuid} has "{device.address}"'))
    return found


async def hand_over(world: World, vm: Vm, config: VmConfig) -> tuple[PciDevice, ...]:
    """The devices for its next run, noted as seen.  What nobody has confirmed is held back."""
    now = await standing(world, vm, config)
    for match in now.drifted:
        log.warning("VM %s: not handing over %s (%s)", vm.uuid, match.device.identity, match.rule)
    await _note(world, vm, now.granted, now.seen)
    return to_pass(now.granted)


async def _note(world: World, vm: Vm, choice: Choice, seen: Seen) -> None:
    after = seen_after(choice, seen)
    if after != seen:
        await world.db.write(seen_key(vm), json.dumps(after, sort_keys=True))


async def confirm(world: World, vm: Vm, addresses: Sequence[str]) -> None:
    """Allow what has drifted in.  Raises BadRequest unless exactly these addresses have."""
    now = await standing(world, vm, await world.store.config(vm))
    waiting = sorted({match.device.address for match in now.drifted})
    if sorted(set(addresses)) != waiting:
        raise BadRequest(f"PCI devices that wait for a confirmation: {', '.join(waiting) or 'none'}")
    log.info("VM %s: confirmed for it: %s", vm.uuid, ", ".join(waiting))
    await _note(world, vm, now.choice, now.seen)


async def hide_early(world: World) -> None:
    """Before any VM starts: pciback takes the devices of the VMs that want it so, ahead of dom0's drivers.

    Nothing that waits for a confirmation is touched.  Then the host's quirks are set, where there is the
    program for it; how that ends does not matter.
    """
    wanted = dict.fromkeys([address for vm in world.registry for address in await _greedy(world, vm)])
    await asyncio.to_thread(pci.hide, world.places, wanted)
    quirks = world.places.at(QUIRKS)
    if quirks.exists():
        await output_of("heimdallr", str(quirks))


async def _greedy(world: World, vm: Vm) -> list[str]:
    try:
        config = await world.store.config(vm)
        if not config["greedy-pciback-bind"]:
            return []
        now = await standing(world, vm, config)
    except OpenxtError as error:
        log.error("VM %s: its PCI devices are not taken early: %s", vm.uuid, error)
        return []
    return [device.address for device in now.granted.devices]
