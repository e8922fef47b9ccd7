# SPDX-License-Identifier: GPL-2.0-or-later
"""Which object is at which path, and for how long.

No object is kept: a face is made for each call.  A VM's objects are there while the registry knows the VM,
those of its disks and nics while it lists their numbers.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from openxt_bus.export import Face, ObjectTree
from openxt_core.ids import disk_path, nic_path, underscored
from openxt_core.spec import Emitter
from openxt_xenmgr.registry import Registry, Vm
from openxt_xenmgr.vm.store import VmStore

Key = tuple[str, ...]


@dataclass(frozen=True)
class Faces:
    root: tuple[Face, ...]
    host: tuple[Face, ...]
    vm: tuple[Face, ...]
    disk: tuple[Face, ...]
    nic: tuple[Face, ...]


def vm_of(registry: Registry, key: Key) -> Vm | None:
    """The VM that the first element of a path's key names; None for one that left the database."""
    vm = registry.at_element(key[0])
    return None if vm is None or vm.is_missing else vm


@dataclass(frozen=True)
class Publisher:
    """Lays out the object tree, and tells of objects that come and go."""

    registry: Registry
    emitter: Emitter
    tree: ObjectTree

    def lay_out(self, faces: Faces) -> None:
        route = self.tree.route
        route("/", *faces.root)
        route("/host", *faces.host)
        route("/vm", children=lambda _: self._vms())
        route("/vm/{vm}", *faces.vm, exists=lambda key: vm_of(self.registry, key) is not None)
        route("/vm/{vm}/disk", children=lambda key: self._numbers(key, "disks"))
        route("/vm/{vm}/disk/{disk}", *faces.disk, exists=lambda key: self._has(key, "disks"))
        route("/vm/{vm}/nic", children=lambda key: self._numbers(key, "nics"))
        route("/vm/{vm}/nic/{nic}", *faces.nic, exists=lambda key: self._has(key, "nics"))
        self.tree.managed()

    def _vms(self) -> list[str]:
        return [underscored(vm.uuid) for vm in self.registry if not vm.is_missing]

    def _numbers(self, key: Key, kind: str) -> Iterable[str]:
        vm = vm_of(self.registry, key)
        numbers: set[int] = set() if vm is None else getattr(vm, kind)
        return [str(number) for number in sorted(numbers)]

    def _has(self, key: Key, kind: str) -> bool:
        return key[1] in self._numbers(key, kind)

    async def added(self, vm: Vm, store: VmStore) -> None:
        """A new VM is there, with its disks and nics."""
        await store.dump(vm)
        for path in paths_of(vm):
            await self.tree.announce_added(self.emitter, path)

    async def added_part(self, path: str) -> None:
        await self.tree.announce_added(self.emitter, path)

    def removed(self, vm: Vm) -> None:
        """A VM goes with everything below it."""
        for path in reversed(paths_of(vm)):
            self.tree.announce_removed(self.emitter, path)

    def removed_part(self, path: str) -> None:
        self.tree.announce_removed(self.emitter, path)


def paths_of(vm: Vm) -> list[str]:
    disks = [disk_path(vm.uuid, disk) for disk in sorted(vm.disks)]
    return [vm.path, *disks, *(nic_path(vm.uuid, nic) for nic in sorted(vm.nics))]
