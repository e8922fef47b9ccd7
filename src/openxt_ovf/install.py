# SPDX-License-Identifier: GPL-2.0-or-later
"""Carry out a plan: files, VMs, first boots, inventory; all of it, or nothing.

    1  the appliance is entered into the inventory as `_temp_<id>`
    2  its files are made in a folder of their own, and entered with the paths that they will have
    3  files of the appliance that it replaces are set aside, VMs of it whose uuids new ones will have are
       written down and removed, and the new files put in place
    4  VMs are made
    5  VMs that install themselves are started, and must stop by themselves
    6  in one transaction the new entry becomes the appliance, and the old one `_temp_<id>`
    7  the old one is removed

Up to 6 whatever fails, a kill too, is taken back by `Remover.undo`; after it the new appliance is there, and
`Remover.finish` removes what is left of the old one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from openxt_core.errors import OpenxtError, Refused, Unavailable
from openxt_core.ids import Uuid, vm_path
from openxt_core.places import Places
from openxt_ovf import inventory
from openxt_ovf.disk_map import Line
from openxt_ovf.host import Host, inject
from openxt_ovf.images import Maker, copy_file
from openxt_ovf.inventory import Appliance, Stage, State, comparison, owned_alone
from openxt_ovf.plan import Copy, Image, Plan, Vm
from openxt_ovf.progress import Progress
from openxt_ovf.removal import Remover, domstore_nodes
from openxt_ovf.staging import Staging
from openxt_ovf.vms import VmMaker

TEMPORARY_KEYS = ("temp", "stage", "replaced")


@dataclass(frozen=True)
class Installer:
    """`permitted`: options with which an installed appliance may be replaced."""

    host: Host
    places: Places
    progress: Progress
    plan: Plan
    maker: Maker
    staging: Staging
    permitted: frozenset[str] = frozenset()

    @property
    def _remover(self) -> Remover:
        return Remover(self.host, self.places, self.progress)

    @property
    def _entry(self) -> str:
        return f"{inventory.ROOT}/{inventory.TEMP}{self.plan.id}"

    def check(self) -> None:
        """Raises Refused for what stands in the way on this host.  Changes nothing."""
        known = self._remover.appliances()
        old = known.get(self.plan.id)
        if old is not None:
            word, option = comparison(old.version, self.plan.version)
            if option not in self.permitted:
                raise Refused(
                    f"Appliance '{self.plan.id}' already exists with {word} version. "
                    f"Please specify {option} to override"
                )
            self._remover.need_stopped(old)
        self._check_uuids(old)
        self._check_files(old, known)

    def _check_uuids(self, old: Appliance | None) -> None:
        for vm in self.plan.vms:
            if vm.is_uuid_fixed and self.host.has_vm(vm.uuid) and (old is None or vm.uuid not in old.vms):
                raise Refused(f"VM {vm.uuid} ({vm.system}) exists already")

    def _check_files(self, old: Appliance | None, known: dict[str, Appliance]) -> None:
        others = {key: one for key, one in known.items() if key != f"{inventory.TEMP}{self.plan.id}"}
        going = () if old is None else owned_alone(old, others)
        self.staging.check_free(path for path in self._final_paths() if path not in going)

    def _final_paths(self) -> Iterator[str]:
        for path in (*(image.path for image in self.plan.images), *(copy.path for copy in self._copies())):
            yield str(self.places.at(path))

    def _copies(self) -> Iterator[Copy]:
        yield from self.plan.isos
        for vm in self.plan.vms:
            yield from vm.files

    def install(self) -> None:
        """Raises what failed, when everything has been taken back."""
        self._clear_stale()
        try:
            self._enter()
            self._make_files()
            self._place_files(self._remover.appliances().get(self.plan.id))
            self._make_vms()
            self._first_boots()
            self._complete()
        except BaseException:
            self._take_back()
            raise
        self._remove_old()

    def make_images(self) -> list[Line]:
        """Images alone, put in place: which is where.  They belong to no appliance."""
        self._clear_stale()
        try:
            self._enter()
            keys = self._make_images([])
            self._place_files(None)
        except BaseException:
            self._take_back()
            raise
        self.host.remove(self._entry)
        self.staging.discard()
        return [
            Line(image.disk.id, image.path, keys[image], image.system, image.index)
            for image in self.plan.images
        ]

    def _clear_stale(self) -> None:
        stale = self._remover.appliances().get(f"{inventory.TEMP}{self.plan.id}")
        if stale is not None:
            self.progress.tell(f"removing what is left of an earlier installation of {self.plan.id}")
            self._remover.clear(stale)
        self.staging.discard()

    def _enter(self) -> None:
        tree = {"temp": "true", "version": str(self.plan.version), "state": State.INSTALLING}
        self.host.commit([inject(self._entry, tree)])

    def _take_back(self) -> None:
        """After a failure; one of its own is told and leaves the rest to `--cleanup`."""
        try:
            one = self._remover.appliances().get(f"{inventory.TEMP}{self.plan.id}")
            if one is not None:
                self._remover.clear(one)
        except (OpenxtError, OSError) as error:
            self.progress.tell(f"apptool: cannot take everything back: {error}; run apptool --cleanup")

    # Files

    def _make_files(self) -> None:
        paths: list[str] = []
        self._make_images(paths)
        for copy in self._copies():
            self._own(paths, copy.path)
            self.progress.tell(f"copying {copy.file.href} to {copy.path}")
            copy_file(self.maker.references.slice(copy.file), self.maker.place(copy.path), self.progress)

    def _make_images(self, paths: list[str]) -> dict[Image, str]:
        """Paths of keys, empty for images that have none."""
        keys: dict[Image, str] = {}
        for image in self.plan.images:
            self._own(paths, image.path)
            keys[image] = self.maker.make(image) or ""
            if keys[image]:
                self._own(paths, keys[image])
        return keys

    def _own(self, paths: list[str], path: str) -> None:
        self.host.write(f"{self._entry}/file/{len(paths)}", str(self.places.at(path)))
        paths.append(path)

    def _place_files(self, old: Appliance | None) -> None:
        """Files of `old` make room."""
        known = self._remover.appliances()
        mine = known.pop(f"{inventory.TEMP}{self.plan.id}")
        if old is not None:
            self._remover.need_stopped(old)
            self.host.write(f"{self._entry}/stage", Stage.ASIDE)
            self.staging.set_aside(owned_alone(old, known))
            self._make_room()
        self.staging.check_free(mine.files)
        self.host.write(f"{self._entry}/stage", Stage.PLACED)
        self.staging.place(mine.files)
        self.host.reread_files(domstore_nodes(self.places, mine.files))

    def _make_room(self) -> None:
        """Remove old VMs whose uuids new ones will have; first, as xenmgr removes images too."""
        for vm in self.plan.vms:
            if vm.is_uuid_fixed and self.host.has_vm(vm.uuid):
                trees = {top: self.host.tree(f"/{top}/{vm.uuid}") for top in ("vm", "dom-store")}
                self.host.commit([inject(f"{self._entry}/replaced/{vm.uuid}", trees)])
                self.host.delete_vm(vm.uuid)

    # VMs

    def _make_vms(self) -> None:
        for vm in self.plan.vms:
            self.progress.tell(f"creating VM {vm.name} ({vm.uuid})")
            VmMaker(self.host, self.places, self._entry).make(vm)

    def _first_boots(self) -> None:
        for vm in self.plan.vms:
            if vm.install_delay_s is not None:
                self._first_boot(vm, vm.install_delay_s)

    def _first_boot(self, vm: Vm, delay_s: int) -> None:
        """0: no limit.  Source: DSP0243, InstallSection."""
        path = vm_path(Uuid(vm.uuid))
        self.progress.tell(f"starting VM {vm.name} to install itself")
        if not self.host.until_stopped(path, delay_s or None, lambda: self.host.vm(path, "start")):
            self.host.destroy(vm.uuid)
            raise Unavailable(f"VM {vm.name} ({vm.uuid}) did not stop within {delay_s} s of its installation")

    # Inventory

    def _complete(self) -> None:
        final = f"{inventory.ROOT}/{self.plan.id}"
        new = self.host.tree(self._entry)
        old = self.host.tree(final)
        operations = [
            inject(final, {**_without_keys(new), "state": State.INSTALLED}),
            ("rm", self._entry, ""),
        ]
        if old:
            kept = {uuid: one for uuid, one in old.get("vm", {}).items() if uuid not in new.get("vm", {})}
            left = {**old, "vm": kept, "temp": "true", "state": State.UNINSTALLING}
            operations[-1] = inject(self._entry, left)
        self.host.commit(operations)

    def _remove_old(self) -> None:
        try:
            one = self._remover.appliances().get(f"{inventory.TEMP}{self.plan.id}")
            if one is not None:
                self.progress.tell(f"removing version {one.version} of {self.plan.id}")
                self._remover.finish(one)
            self.staging.discard()
        except OpenxtError as error:
            raise Unavailable(
                f"the new version is installed, but of the old one something is left: {error}; "
                "run apptool --cleanup"
            ) from error


def _without_keys(tree: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in tree.items() if key not in TEMPORARY_KEYS}
