# SPDX-License-Identifier: GPL-2.0-or-later
"""Take appliances off the host: those installed, and what an installation left that failed or was killed.

All of it works from the inventory alone and can be repeated, so a failed installation is undone by the same
steps as one whose program was killed.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import BadRequest, Refused
from openxt_core.ids import Uuid, vm_path
from openxt_core.places import Places
from openxt_ovf import inventory
from openxt_ovf.host import Host, inject
from openxt_ovf.inventory import Appliance, Stage, State, owned_alone
from openxt_ovf.plan import DOMSTORE
from openxt_ovf.progress import Progress
from openxt_ovf.staging import Staging


@dataclass(frozen=True)
class Remover:
    host: Host
    places: Places
    progress: Progress

    def appliances(self) -> dict[str, Appliance]:
        """The inventory by key, those under way too."""
        return inventory.read(self.host.tree(inventory.ROOT))

    def remove(self, id: str) -> None:
        """An installed appliance with its VMs and files.  Raises Refused while a VM of it is not stopped."""
        one = self.appliances().get(id)
        if one is None or one.is_temporary:
            raise BadRequest(f"there is no appliance {id[:80]!r}")
        self.need_stopped(one)
        self.host.write(f"{one.path}/state", State.UNINSTALLING)
        self.finish(one)

    def need_stopped(self, one: Appliance) -> None:
        for uuid in one.vms:
            if not self.host.is_stopped(uuid):
                raise Refused(f"VM {uuid} ({one.vms[uuid]}) of appliance {one.id!r} is not stopped")

    def finish(self, one: Appliance) -> None:
        """Remove what is left of an appliance that is being uninstalled."""
        self._delete_vms(one.vms)
        for path in owned_alone(one, self.appliances()):
            Path(path).unlink(missing_ok=True)
        Staging(self.places, one.id).discard()
        self.host.remove(one.path)

    def undo(self, one: Appliance) -> None:
        """Take back an installation that was not completed: everything is as it was before."""
        self._spare_images(one)
        self._delete_vms(one.vms)
        staging = Staging(self.places, one.id)
        installed = self.appliances().get(one.id)
        old = () if installed is None else installed.files
        if one.stage is Stage.PLACED:
            staging.remove(one.files)
            self._forget(one.files)
        if one.stage is not Stage.NONE:
            staging.bring_back(old)
        self._restore(one, old)
        staging.discard()
        self.host.remove(one.path)

    def _spare_images(self, one: Appliance) -> None:
        """Images that were there before are not removed with the VMs that were to use them."""
        for uuid in one.vms:
            path = vm_path(Uuid(uuid))
            if self.host.has_vm(uuid):
                for disk in self.host.vm(path, "list_disks"):
                    if self.host.get_disk(disk, "phys-path") not in one.files:
                        self.host.set_disk(disk, "shared", True)

    def _forget(self, files: Iterable[str]) -> None:
        """dom-stores of files that were put in place before their VMs were made."""
        nodes = domstore_nodes(self.places, files)
        folders = list(dict.fromkeys(node.rpartition("/")[0] for node in nodes))
        for folder in folders:
            shutil.rmtree(self.places.config / folder.lstrip("/"), ignore_errors=True)
        self.host.commit([("rm", folder, "") for folder in folders])
        self.host.reread_files(folders, exist=False)

    def _restore(self, one: Appliance, files: Iterable[str]) -> None:
        """VMs that made room, with their dom-stores: texts, and files that are back by now."""
        for uuid, trees in one.replaced.items():
            if not self.host.has_vm(uuid):
                self.host.restore_vm(dict(trees.get("vm", {})))
            texts = {key: value for key, value in trees.get("dom-store", {}).items() if value is not None}
            if texts:
                self.host.commit([inject(f"/dom-store/{uuid}", texts)])
        if one.replaced:
            self.host.reread_files(domstore_nodes(self.places, files))

    def _delete_vms(self, uuids: Iterable[str]) -> None:
        for uuid in uuids:
            if self.host.has_vm(uuid):
                if not self.host.is_stopped(uuid):
                    self.host.destroy(uuid)
                self.host.delete_vm(uuid)
            shutil.rmtree(self.places.at(f"{DOMSTORE}/{uuid}"), ignore_errors=True)
            self.host.remove(f"/dom-store/{uuid}")

    def clean_up(self) -> None:
        """What interrupted installations left in the database and on the disk."""
        for one in self.appliances().values():
            if one.is_temporary:
                self.progress.tell(f"removing what is left of an installation of {one.id}")
                self.clear(one)
        shutil.rmtree(self.places.storage / "_apptemp_", ignore_errors=True)

    def clear(self, one: Appliance) -> None:
        """A temporary entry: the old appliance that a new one replaced, or a new one half installed."""
        if one.state == State.UNINSTALLING:
            self.finish(one)
        else:
            self.undo(one)


def domstore_nodes(places: Places, files: Iterable[str]) -> list[str]:
    """Those of the files that are nodes of the database, by their paths there."""
    folder = places.at(DOMSTORE)
    return [
        f"/dom-store/{Path(path).relative_to(folder)}" for path in files if Path(path).is_relative_to(folder)
    ]
