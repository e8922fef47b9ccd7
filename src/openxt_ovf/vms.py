# SPDX-License-Identifier: GPL-2.0-or-later
"""Make one VM of a plan: the calls to xenmgr, and what is written into the database beside them.

What is to be written is worked out by pure functions; the order is the original's, but for policies, which
come last: they could forbid the rest.  Source: OpenXT apptool 1.0.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from openxt_core.ovf_environment import property_id
from openxt_core.places import Places
from openxt_ovf.host import Host, Operation
from openxt_ovf.plan import Drive, Nic, Setting, Vm

POLICY = "policy-"


@dataclass(frozen=True)
class VmMaker:
    host: Host
    places: Places
    appliance: str  # its path in the inventory

    def make(self, vm: Vm) -> None:
        """Raises RemoteError for what xenmgr refuses.  The VM is in the inventory before it exists."""
        self.host.write(f"{self.appliance}/vm/{vm.uuid}/id", vm.system)
        path = self.host.create_vm(vm.template, vm.uuid)
        for name, value in (
            ("name", vm.name),
            ("memory", vm.memory_mib),
            ("vcpus", vm.vcpus),
            ("ovf-transport-iso", vm.has_iso_transport),
        ):
            self.host.set_vm(path, name, value)
        self.host.commit(entries(vm))
        self._rules(path, vm)
        self.host.commit(product_entries(vm))
        self._set_all(path, [one for one in vm.settings if not one.name.startswith(POLICY)])
        for nic in vm.nics:
            self._nic(path, nic)
        for drive in vm.drives:
            self._drive(path, drive, vm)
        self._set_all(path, [one for one in vm.settings if one.name.startswith(POLICY)])

    def _set_all(self, path: str, settings: "list[Setting] | tuple[Setting, ...]") -> None:
        for one in settings:
            self.host.set(path, one)

    def _rules(self, path: str, vm: Vm) -> None:
        for rule in vm.v4v_rules:
            self.host.vm(path, "add_v4v_firewall_rule", rule)
        self.host.commit(rpc_rule_entries(vm))
        for match in vm.pci:
            if match.bdf:
                self.host.pci(path, "add_pt_rule_bdf", match.bdf)
            else:
                words = (match.class_, match.vendor, match.device)
                self.host.pci(path, "add_pt_rule", *(word or "any" for word in words))

    def _nic(self, path: str, nic: Nic) -> None:
        made = self.host.vm(path, "add_nic")
        if nic.network is not None:
            self.host.set_nic(made, "network", nic.network)
        self.host.set_nic(made, "enabled", nic.is_enabled)
        self._set_all(made, nic.settings)

    def _drive(self, path: str, drive: Drive, vm: Vm) -> None:
        made = self.host.vm(path, "add_disk")
        if drive.image is not None:
            self.host.attach_vhd(made, str(self.places.at(drive.image.path)))
            self.host.write(f"{self.appliance}/disk/{vm.system}/{drive.image.disk.id}", made)
        else:
            for name, value in (("phys-type", "file"), ("devtype", "cdrom"), ("shared", True)):
                self.host.set_disk(made, name, value)
            self.host.set_disk(made, "phys-path", str(self.places.at(drive.iso)) if drive.iso else "")
        self.host.set_disk(made, "mode", "r" if drive.is_read_only else "w")
        self.host.set_disk(made, "enabled", drive.is_enabled)
        self._set_all(made, drive.settings)


def entries(vm: Vm) -> list[Operation]:
    """What the package wants in the database of the VM and in its dom-store."""
    tops = {"vm": f"/vm/{vm.uuid}", "vm-domstore": f"/dom-store/{vm.uuid}"}
    return [("write", f"{tops[one.section]}/{one.key}", one.value) for one in vm.db_entries]


def rpc_rule_entries(vm: Vm) -> list[Operation]:
    top = f"/vm/{vm.uuid}/rpc-firewall-rules"
    return [("write", f"{top}/{number}", rule) for number, rule in enumerate(vm.rpc_rules)]


def product_entries(vm: Vm) -> list[Operation]:
    """Empty texts are not stored."""
    return [("write", path, value) for path, value in _product_values(vm) if value]


def _product_values(vm: Vm) -> Iterator[tuple[str, str]]:
    words = {True: "true", False: "false"}
    for product in vm.products:
        for one in product.properties:
            id = property_id(product.class_, one.key, product.instance)
            top = f"/vm/{vm.uuid}/productproperty/{id}"
            yield f"{top}/key", one.key
            yield f"{top}/class", product.class_
            yield f"{top}/instance", product.instance
            yield f"{top}/type", one.type
            yield f"{top}/description", one.description
            yield f"{top}/userconfigurable", words[one.is_user_configurable]
            yield f"{top}/password", words[one.is_password]
            yield f"{top}/value", one.value
