# SPDX-License-Identifier: GPL-2.0-or-later
"""The rule lists of a VM: v4v firewall, network firewall, PCI passthrough.  Stored here, applied elsewhere.

Two who add at the same time lose nothing: every change is one transaction (`VmStore.edit`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from openxt_core.errors import BadRequest, RuleParseError
from openxt_core.v4v_rules import Rule, parse_rule
from openxt_xenmgr.properties.table import Change
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.passthrough import PciRule, next_rule_id, rules_of, without_equal
from openxt_xenmgr.vm.policy import need_edit
from openxt_xenmgr.vm.tree import Tree, items, numbered, text
from openxt_xenmgr.world import World

Decision: TypeAlias = tuple[Iterable[Change], None]

V4V_KEY = "v4v-firewall-rules"
NET_KEY = "firewall-rule"
PCI_KEY = "config/pci"


def v4v_rules(tree: Tree) -> list[str]:
    """In canonical form; a stored one that cannot be read is shown as it stands."""
    return [_canonical(rule) for rule in items(tree, V4V_KEY)]


def _canonical(stored: str) -> str:
    try:
        return str(parse_rule(stored))
    except RuleParseError:
        return stored


async def add_v4v(world: World, vm: Vm, text: str) -> None:
    """Append a rule unless it is there.  Raises RuleParseError (237)."""
    rule = parse_rule(text)

    def decide(config: VmConfig) -> Decision:
        stored = items(config.tree, V4V_KEY)
        is_there = any(_same(other, rule) for other in stored)
        return () if is_there else (Change(V4V_KEY, (*stored, str(rule))),), None

    await world.store.edit(vm, decide)


async def delete_v4v(world: World, vm: Vm, text: str) -> None:
    """Remove every equal rule.  Raises RuleParseError (237)."""
    rule = parse_rule(text)

    def decide(config: VmConfig) -> Decision:
        kept = tuple(other for other in items(config.tree, V4V_KEY) if not _same(other, rule))
        return (Change(V4V_KEY, kept),), None

    await world.store.edit(vm, decide)


def _same(stored: str, rule: Rule) -> bool:
    return _canonical(stored) == str(rule)


@dataclass(frozen=True, slots=True)
class NetRule:
    id: int
    direction: str
    remote_ip: str
    extra: str


def net_rules(tree: Tree) -> list[dict[str, str]]:
    return [
        {"id": str(id), **{key: text(entry, key) for key in ("direction", "remote-ip", "extra")}}
        for id, entry in sorted(numbered(tree, NET_KEY), key=lambda found: found[0])
    ]


async def add_net(world: World, vm: Vm, rule: NetRule) -> None:
    if rule.direction not in ("in", "out"):
        raise BadRequest(f"direction cannot be {rule.direction[:60]!r}: allowed are 'in', 'out'")
    if rule.id < 0:
        raise BadRequest(f"id cannot be {rule.id}: 0 or more is allowed")
    fields = (("direction", rule.direction), ("remote-ip", rule.remote_ip), ("extra", rule.extra))
    changes = [Change(f"{NET_KEY}/{rule.id}/{key}", value) for key, value in fields]
    await world.store.change(vm, changes)


async def delete_net(world: World, vm: Vm, id: int) -> None:
    await world.store.change(vm, (Change(f"{NET_KEY}/{id}", None),))


def pci_rules(tree: Tree) -> list[dict[str, str]]:
    return [{"id": str(id), "rule": str(rule)} for id, rule in rules_of(tree).items()]


async def add_pci(world: World, vm: Vm, rule: PciRule) -> None:
    """Append a rule.  Raises CannotEditByPolicy (202)."""
    record = rule.record()

    def decide(config: VmConfig) -> Decision:
        need_edit(vm.uuid, config.tree)
        if not record:
            raise BadRequest("a rule without class, vendor and device would match every device")
        id = next_rule_id(used for used, _ in numbered(config.tree, PCI_KEY))
        return [Change(f"{PCI_KEY}/{id}/{key}", value) for key, value in record.items()], None

    await world.store.edit(vm, decide)


async def delete_pci(world: World, vm: Vm, rule: PciRule) -> None:
    """Remove every equal rule.  Raises CannotEditByPolicy (202)."""

    def decide(config: VmConfig) -> Decision:
        need_edit(vm.uuid, config.tree)
        doomed = without_equal(rules_of(config.tree), rule)
        return [Change(f"{PCI_KEY}/{id}", None) for id in doomed], None

    await world.store.edit(vm, decide)
