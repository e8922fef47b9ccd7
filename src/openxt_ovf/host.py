# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemons of this host as apptool asks them: dbd and xenmgr.  By the interface tables, no decisions."""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from openxt_api.db import DB
from openxt_api.db_transactions import DB_TRANSACTIONS
from openxt_api.vm_disk import VMDISK
from openxt_api.vm_nic import VMNIC
from openxt_api.xenmgr import XENMGR, XENMGR_UNRESTRICTED, VmState
from openxt_api.xenmgr_vm import XENMGR_VM, XENMGR_VM_PCI
from openxt_bus.blocking import BlockingBus
from openxt_core.client import PROPERTIES
from openxt_core.errors import RemoteError, Unavailable
from openxt_core.ids import DBD_NAME, XENMGR_NAME, Uuid, vm_path
from openxt_core.signature import Variant
from openxt_core.spec import Interface
from openxt_ovf.plan import Setting

Tree = dict[str, Any]
Operation = tuple[str, str, str]
"""The word write, inject or rm, a path, and a value."""

_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


def inject(path: str, tree: Tree) -> Operation:
    return "inject", path, json.dumps(tree)


@dataclass(frozen=True)
class Host:
    """Every call raises RemoteError for an error reply, Unavailable without one."""

    bus: BlockingBus

    def _call(self, name: str, path: str, spec: Interface, member: str, *args: Any) -> Any:
        method = spec.method[member]
        answer = self.bus.call(name, path, spec.name, member, method.in_signature, args)
        return answer[0] if answer else None

    # The database

    def tree(self, path: str) -> Tree:
        """What is below a path; empty for nothing, or a plain value."""
        found = json.loads(self._call(DBD_NAME, "/", DB, "dump", path))
        return found if isinstance(found, dict) else {}

    def write(self, path: str, value: str) -> None:
        self._call(DBD_NAME, "/", DB, "write", path, value)

    def remove(self, path: str) -> None:
        self._call(DBD_NAME, "/", DB, "rm", path)

    def commit(self, operations: Sequence[Operation]) -> None:
        """All of it or nothing."""
        if operations:
            self._call(DBD_NAME, "/", DB_TRANSACTIONS, "commit", (), tuple(operations))

    def reread_files(self, nodes: Sequence[str], *, exist: bool = True) -> None:
        """Have dbd notice files that are nodes, or are no more.  Raises Unavailable when it does not."""
        if not nodes:
            return
        (pid,) = self.bus.call(*_BUS, "GetConnectionUnixProcessID", "s", (DBD_NAME,))
        os.kill(pid, signal.SIGHUP)
        deadline = time.monotonic() + REREAD_TIMEOUT_S
        while any(self._call(DBD_NAME, "/", DB, "exists", node) is not exist for node in nodes):
            if time.monotonic() > deadline:
                raise Unavailable(f"dbd did not read its files again in {REREAD_TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)

    # VMs

    def vm_paths(self) -> list[str]:
        found: list[str] = self._call(XENMGR_NAME, "/", XENMGR, "list_vms")
        return found

    def has_vm(self, uuid: str) -> bool:
        return vm_path(Uuid(uuid)) in self.vm_paths()

    def create_vm(self, template: str, uuid: str) -> str:
        path: str = self._call(XENMGR_NAME, "/", XENMGR, "create_vm_with_template_and_uuid", template, uuid)
        return path

    def delete_vm(self, uuid: str) -> None:
        """Whatever policy says to users."""
        self._call(XENMGR_NAME, "/", XENMGR_UNRESTRICTED, "unrestricted_delete_vm", uuid)

    def restore_vm(self, tree: Tree) -> None:
        """A VM that was deleted, as the database had it."""
        self._call(XENMGR_NAME, "/", XENMGR, "create_vm_with_template_and_json", "", json.dumps(tree))

    def vm(self, path: str, member: str, *args: Any) -> Any:
        return self._call(XENMGR_NAME, path, XENMGR_VM, member, *args)

    def pci(self, path: str, member: str, *args: Any) -> None:
        self._call(XENMGR_NAME, path, XENMGR_VM_PCI, member, *args)

    def attach_vhd(self, disk: str, image: str) -> None:
        self._call(XENMGR_NAME, disk, VMDISK, "attach_vhd", image)

    def set(self, path: str, one: Setting) -> None:
        body = (one.interface, one.name, one.value)
        self.bus.call(XENMGR_NAME, path, PROPERTIES, "Set", "ssv", body)

    def get_disk(self, path: str, name: str) -> Any:
        (found,) = self.bus.call(XENMGR_NAME, path, PROPERTIES, "Get", "ss", (VMDISK.name, name))
        return found.value

    def set_disk(self, path: str, name: str, value: Any) -> None:
        self.set(path, setting(VMDISK, name, value))

    def set_nic(self, path: str, name: str, value: Any) -> None:
        self.set(path, setting(VMNIC, name, value))

    def set_vm(self, path: str, name: str, value: Any) -> None:
        self.set(path, setting(XENMGR_VM, name, value))

    def state(self, path: str) -> str:
        (found,) = self.bus.call(XENMGR_NAME, path, PROPERTIES, "Get", "ss", (XENMGR_VM.name, "state"))
        return str(found.value)

    def is_stopped(self, uuid: str) -> bool:
        """True for a VM that is not there."""
        try:
            return self.state(vm_path(Uuid(uuid))) == VmState.STOPPED
        except RemoteError as error:
            if self.has_vm(uuid):
                raise error
            return True

    def until_stopped(self, path: str, timeout_s: float | None, start: Callable[[], None]) -> bool:
        """Start a VM; whether it has stopped by itself in this time.  None: wait for ever."""
        self.bus.listen(f"type='signal',sender='{XENMGR_NAME}',interface='{XENMGR.name}'")
        start()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self.state(path) != VmState.STOPPED:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            next(iter(self.bus.signals(left)), None)
        return True

    def destroy(self, uuid: str) -> None:
        """Return when the VM has stopped."""
        path = vm_path(Uuid(uuid))
        if not self.until_stopped(path, STOP_TIMEOUT_S, lambda: self.vm(path, "destroy")):
            raise Unavailable(f"VM {uuid} did not stop in {STOP_TIMEOUT_S:.0f} s")


STOP_TIMEOUT_S = 60.0
REREAD_TIMEOUT_S = 20.0
POLL_S = 0.02  # dbd tells nobody when it has read its files


def setting(spec: Interface, name: str, value: Any) -> Setting:
    return Setting(spec.name, name, Variant(spec.property[name].type, value))
