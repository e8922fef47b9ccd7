# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM's configuration in the database: read it whole, write only what changed, then announce it.

dbd tells nobody of changes, so nothing is remembered that could be out of date: each operation starts with
one dump.  What a dump decodes to is kept with its text, and used again when the next dump is the same text.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from openxt_core.errors import BadRequest
from openxt_core.spec import Value
from openxt_xenmgr.announce import Announcer
from openxt_xenmgr.links.dbd import DbClient, decode
from openxt_xenmgr.properties.table import Change, Stored, value_in
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.model import VmConfig, disks_of, nics_of
from openxt_xenmgr.vm.tree import Tree, items, leaf_text, maybe_text, node, parts

MAX_RECENT = 64


@dataclass(frozen=True, slots=True)
class Dump:
    """What a text from dbd was decoded to.  The text itself is the key, so a Dump cannot be stale."""

    text: str
    config: VmConfig


class VmStore:
    """Raises BadRequest for a VM that is not in the database."""

    def __init__(self, db: DbClient, announcer: Announcer) -> None:
        self.db = db
        self._announcer = announcer
        self._recent: OrderedDict[str, Dump] = OrderedDict()  # by uuid

    async def dump(self, vm: Vm) -> Dump:
        """The VM's whole tree as it is now."""
        text = await self.db.dump_text(vm.db)
        known = self._recent.get(vm.uuid)
        if known is not None and known.text == text:
            return known
        tree = decode(text)
        vm.is_missing = not isinstance(tree, dict)
        if vm.is_missing:
            raise BadRequest(f"VM {vm.uuid} is not in the database")
        learn_lists(vm, tree)
        return self._keep(vm, Dump(text, VmConfig.of(vm.uuid, tree)))

    def _keep(self, vm: Vm, dump: Dump) -> Dump:
        self._recent[vm.uuid] = dump
        self._recent.move_to_end(vm.uuid)
        while len(self._recent) > MAX_RECENT:
            self._recent.popitem(last=False)
        return dump

    async def tree(self, vm: Vm) -> Tree:
        return (await self.dump(vm)).config.tree

    async def config(self, vm: Vm) -> VmConfig:
        return (await self.dump(vm)).config

    async def value(self, vm: Vm, row: Stored) -> Value:
        """One property whose leaf alone tells its value."""
        leaf = await self.db.dump(f"{vm.db}/{row.key}")
        return value_in(row, _nested(row.key, leaf))

    async def change(
        self, vm: Vm, changes: Iterable[Change], *, always: bool = False, quiet: bool = False
    ) -> bool:
        """Carry out changes; True when anything was written.

        What is stored already is not written again, unless `always`; what was written is announced,
        unless `quiet`.
        """
        before = await self.config(vm)
        due = [change for change in changes if always or differs(before.tree, change)]
        for change in due:
            await self._write(vm, change)
        if due:
            await self._announce(vm, before, quiet)
        return bool(due)

    async def _write(self, vm: Vm, change: Change) -> None:
        path = f"{vm.db}/{change.key}"
        if change.value is None:
            await self.db.rm(path)
        elif isinstance(change.value, str):
            await self.db.write(path, change.value)
        else:
            await self.db.write_list(path, change.value)

    async def _announce(self, vm: Vm, before: VmConfig, quiet: bool) -> None:
        after = await self.config(vm)
        if not quiet:
            self._announcer.vm_config_changed(vm.uuid)
        changed = {name: value for name, value in after.values.items() if before.values[name] != value}
        self._announcer.vm_properties(vm.uuid, changed)


def learn_lists(vm: Vm, tree: Tree) -> None:
    """Which disks and nics the VM has, and so which of their objects are there."""
    vm.disks = {disk.id for disk in disks_of(tree)}
    vm.nics = {nic.id for nic in nics_of(tree)}


def differs(tree: Tree, change: Change) -> bool:
    """Compares the stored text itself: one that makes no sense must not block what replaces it."""
    if isinstance(change.value, str):
        return maybe_text(tree, change.key) != change.value
    if change.value is None:
        return node(tree, change.key) is not None
    return items(tree, change.key) != change.value


def _nested(key: str, leaf: Any) -> Tree:
    nested: Any = leaf if isinstance(leaf, dict) or leaf_text(leaf) is not None else None
    if nested is None:
        return {}
    for part in reversed(parts(key)):
        nested = {part: nested}
    return nested if isinstance(nested, dict) else {}
