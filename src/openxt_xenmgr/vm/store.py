# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM's configuration in the database: read it whole, write only what changed, then announce it.

Each operation starts with one dump, which is leased: what it decodes to is used again while the lease holds,
and also when the next dump is the same text.  A change is one transaction on the VM's whole tree: who decides
on what was read, and comes second, reads and decides again.  So nobody's change is lost, whoever else edits
the database.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from openxt_bus.message import Marshalled
from openxt_core.errors import Unavailable, UnknownObject
from openxt_core.spec import Value
from openxt_xenmgr.announce import Announcer
from openxt_xenmgr.links.dbd import MAX_ATTEMPTS, DbClient, Operation, Outcome, decode, pause, replacing_list
from openxt_xenmgr.links.leases import Lease, Leases
from openxt_xenmgr.properties.table import Change, Stored, value_in
from openxt_xenmgr.properties.vm import STORED
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.model import VmConfig, disks_of, nics_of
from openxt_xenmgr.vm.tree import Tree, items, leaf_text, maybe_text, node, parts

MAX_RECENT = 64

T = TypeVar("T")
OnChange: TypeAlias = Callable[[Vm, VmConfig | None, VmConfig], None]
"""Called with what was stored before and after a change; before is None when that is not known."""
Decide: TypeAlias = Callable[[VmConfig], tuple[Iterable[Change], T]]
"""What to change of a VM, and what to tell whoever wanted it."""


@dataclass(slots=True)
class Dump:
    """What a text from dbd was decoded to."""

    text: str
    config: VmConfig
    lease: Lease | None = None
    told: VmConfig | None = None  # as the bus was told last; None: as it is
    # By interface: what of GetAll depends on it alone; the last whole answer, with what more was in it.
    entries: dict[str, bytes] = field(default_factory=dict)
    replies: dict[str, tuple[Any, Marshalled]] = field(default_factory=dict)

    @property
    def is_current(self) -> bool:
        """Whether it is known to be what is stored now."""
        return self.lease is not None and self.lease.holds


class VmStore:
    """Raises UnknownObject for a VM that is not in the database, or has something else in its place there."""

    def __init__(self, db: DbClient, announcer: Announcer) -> None:
        self.db = db
        self._announcer = announcer
        self.on_change: OnChange = lambda _vm, _before, _after: None
        self._recent: OrderedDict[str, Dump] = OrderedDict()  # by uuid
        self.leases = Leases(db)

    def held(self, vm: Vm) -> Dump | None:
        """The VM's whole tree if it is known without asking."""
        known = self._recent.get(vm.uuid)
        return known if known is not None and known.is_current else None

    async def dump(self, vm: Vm) -> Dump:
        """The VM's whole tree as it is now."""
        known = self.held(vm)
        if known is not None:
            return known
        text, lease = await self.leases.read(vm.db)
        found = self._dump(vm, text)
        found.lease = lease
        return found

    def _dump(self, vm: Vm, text: str) -> Dump:
        known = self._recent.get(vm.uuid)
        if known is not None and known.text == text:
            return known
        tree = decode(text)
        vm.is_missing = not isinstance(tree, dict)
        if vm.is_missing:
            raise UnknownObject(f"VM {vm.uuid} is not in the database")
        learn_lists(vm, tree)
        told = None if known is None else known.told or known.config
        return self._keep(vm, Dump(text, VmConfig.of(vm.uuid, tree), told=told))

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

    async def config_or_none_set(self, vm: Vm) -> VmConfig:
        """As `config`; without any setting for a VM that left the database while it runs.

        Who goes through all running VMs must neither stop at such a one nor pass it over.
        """
        try:
            return await self.config(vm)
        except UnknownObject:
            return VmConfig.of(vm.uuid, {})

    async def config_at_revision(self, vm: Vm) -> tuple[VmConfig, int]:
        """With the revision of the database at which it was that."""
        revision, text = await self.db.snapshot_text(vm.db)
        return self._dump(vm, text).config, revision

    async def value(self, vm: Vm, row: Stored) -> Value:
        """One property whose leaf alone tells its value."""
        known = self.held(vm)
        if known is not None:
            return known.config.values[row.name]
        leaf = await self.db.dump(f"{vm.db}/{row.key}")
        return value_in(row, _nested(row.key, leaf))

    async def change(
        self, vm: Vm, changes: Iterable[Change], *, always: bool = False, quiet: bool = False
    ) -> bool:
        """Carry out changes; True when anything was written."""
        wanted = tuple(changes)
        return await self.edit(vm, lambda _: (wanted, True), always=always, quiet=quiet) is not None

    async def edit(self, vm: Vm, decide: Decide[T], *, always: bool = False, quiet: bool = False) -> T | None:
        """Carry out the changes that are decided on the VM as it is; all at once, or none.

        `decide` may be asked again, and raises what speaks against the changes.  What is stored already is
        not written again, unless `always`; what was written is announced, unless `quiet`.  Returns what was
        decided beside the changes; None if there was nothing to write.
        """
        unanswered: tuple[Sequence[Change], VmConfig, T] | None = None
        for attempt in range(MAX_ATTEMPTS):
            revision, text = await self.db.snapshot_text(vm.db)
            now = self._dump(vm, text).config
            if unanswered is not None and not any(differs(now.tree, change) for change in unanswered[0]):
                await self._announce(vm, unanswered[1], quiet)
                return unanswered[2]
            changes, result = decide(now)
            due = [change for change in changes if always or differs(now.tree, change)]
            if not due:
                return None
            outcome = await self.db.commit(vm.db, revision, [_operation(vm, change) for change in due])
            if outcome is Outcome.DONE:
                await self._announce(vm, now, quiet)
                return result
            unanswered = (due, now, result) if outcome is Outcome.UNKNOWN else None
            await pause(attempt)
        raise Unavailable(f"VM {vm.uuid} could not be changed: others do so all the time")

    async def edit_several(self, decide: Callable[[], Awaitable[Mapping[Vm, Change]]]) -> Mapping[Vm, Change]:
        """As `edit`, for changes of several VMs that belong together; `decide` reads what it needs of all.

        Returns what was written.
        """
        made: list[tuple[Vm, Change, VmConfig]] = []

        async def ask() -> list[tuple[Vm, Change, VmConfig]]:
            wanted = [(vm, one, await self.config(vm)) for vm, one in (await decide()).items()]
            return [(vm, one, before) for vm, one, before in wanted if differs(before.tree, one)]

        def operations(due: list[tuple[Vm, Change, VmConfig]]) -> list[Operation]:
            if due:  # none: that of the last time was done
                made[:] = due
            return [_operation(vm, change) for vm, change, _ in due]

        await self.db.edit_knowing("/vm", ask, operations)
        for vm, _, before in made:
            await self._announce(vm, before, quiet=False)
        return {vm: change for vm, change, _ in made}

    async def _announce(self, vm: Vm, before: VmConfig, quiet: bool) -> None:
        dump = await self.dump(vm)
        after, told, dump.told = dump.config, dump.told or before, None
        self.on_change(vm, told, after)
        if not quiet:
            self._announcer.vm_config_changed(vm.uuid)
        # Also what is now as it was told last, but was not before this change.
        self._announcer.vm_properties(vm.uuid, _changed(told, after) | _changed(before, after))

    async def announce_outside(self, vm: Vm, keys: Sequence[str]) -> None:
        """Somebody else changed these keys, or something above them: tell what is different now."""
        is_known = vm.uuid in self._recent
        dump = await self.dump(vm)
        after, told, dump.told = dump.config, dump.told, None
        if told is not None:
            changed, is_other = _changed(told, after), told.tree != after.tree
        elif is_known:
            return
        else:
            changed = {row.name: after.values[row.name] for row in STORED if _is_at(row.key, keys)}
            is_other = True
        self.on_change(vm, told, after)
        if is_other:
            self._announcer.vm_config_changed(vm.uuid)
        if "name" in changed:
            self._announcer.vm_name_changed(vm.uuid)
        self._announcer.vm_properties(vm.uuid, changed)


def _changed(before: VmConfig, after: VmConfig) -> dict[str, Value]:
    return {name: value for name, value in after.values.items() if before.values[name] != value}


def _is_at(key: str, changed: Sequence[str]) -> bool:
    """Whether a key is one of these, or below or above it."""
    return any(
        not one or key == one or key.startswith(f"{one}/") or one.startswith(f"{key}/") for one in changed
    )


def _operation(vm: Vm, change: Change) -> Operation:
    path = f"{vm.db}/{change.key}"
    if change.value is None:
        return "rm", path, ""
    return (
        ("write", path, change.value) if isinstance(change.value, str) else replacing_list(path, change.value)
    )


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
