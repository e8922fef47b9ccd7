# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell the bus what changed: the original's signals, and PropertiesChanged beside them.

Decides nothing but the pace: a series of configuration writes to a VM is announced once.
"""

from collections.abc import Mapping

from openxt_api.xenmgr import XenmgrSignals
from openxt_api.xenmgr_vm import XENMGR_VM, XENMGR_VM_UNRESTRICTED
from openxt_bus.export import properties_changed
from openxt_core.ids import Uuid, vm_path
from openxt_core.spec import Emitter, Interface, Value
from openxt_xenmgr.tasks import Debounce

CONFIG_DELAY_S = 0.5
DISC_DELAY_S = 1.0


class Announcer:
    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._root = XenmgrSignals(emitter, "/")
        self._config = Debounce(CONFIG_DELAY_S, self._config_due)
        self._discs = Debounce(DISC_DELAY_S, self._disc_due)
        self._holders: dict[str, Uuid | None] = {}  # by CD drive, still to be told
        self._told_holders: dict[str, Uuid | None] = {}  # or about to be

    def vm_created(self, uuid: Uuid) -> None:
        self._root.vm_created(uuid, vm_path(uuid))

    def vm_deleted(self, uuid: Uuid) -> None:
        """Also forgets what was still to be said about the VM."""
        self._config.forget(uuid)
        self._root.vm_deleted(uuid, vm_path(uuid))

    def vm_config_changed(self, uuid: Uuid) -> None:
        """Said half a second after the last of a series of changes."""
        self._config.request(uuid)

    def _config_due(self, uuid: str) -> None:
        self._root.vm_config_changed(uuid, vm_path(Uuid(uuid)))

    def vm_name_changed(self, uuid: Uuid) -> None:
        self._root.vm_name_changed(uuid, vm_path(uuid))

    def vm_transfer_changed(self, uuid: Uuid) -> None:
        self._root.vm_transfer_changed(uuid, vm_path(uuid))

    def vm_state_changed(self, uuid: Uuid, state: str, acpi_state: int) -> None:
        self._root.vm_state_changed(uuid, vm_path(uuid), state, acpi_state)

    def cd_assignment_changed(self, drive: str, uuid: Uuid | None) -> None:
        """Said a second after the last of a series of changes; None: nobody has it."""
        self._holders[drive] = self._told_holders[drive] = uuid
        self._discs.request(drive)

    def is_other_holder(self, drive: str, uuid: Uuid | None) -> bool:
        """Whether somebody else, or nobody any more, has a drive since it was told of."""
        return drive not in self._told_holders or self._told_holders[drive] != uuid

    def _disc_due(self, drive: str) -> None:
        uuid = self._holders.pop(drive)
        self._root.cd_assignment_changed(drive, uuid or "", "/" if uuid is None else vm_path(uuid))

    def config_changed(self) -> None:
        self._root.config_changed()

    def language_changed(self) -> None:
        self._root.language_changed()

    def vm_properties(self, uuid: Uuid, changed: Mapping[str, Value]) -> None:
        """PropertiesChanged of a VM's two interfaces, each with what it has of them."""
        for spec in (XENMGR_VM, XENMGR_VM_UNRESTRICTED):
            self.properties(vm_path(uuid), spec, changed)

    def properties(self, path: str, spec: Interface, changed: Mapping[str, Value]) -> None:
        known = {name: value for name, value in changed.items() if name in spec.property}
        if known:
            properties_changed(self._emitter, path, spec, known)
