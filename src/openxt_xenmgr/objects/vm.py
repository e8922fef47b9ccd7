# SPDX-License-Identifier: GPL-2.0-or-later
"""Faces of a VM, `/vm/<uuid>`: life, settings, disks and nics, rules, product properties."""

from collections.abc import Awaitable
from typing import Any

from openxt_api.xenmgr_vm import (
    XenmgrVm,
    XenmgrVmAuth,
    XenmgrVmPci,
    XenmgrVmProduct,
    XenmgrVmUnrestricted,
)
from openxt_bus.message import Marshalled
from openxt_core.errors import ActionSuppressedByPolicy, BadRequest, IoError, UnknownObject
from openxt_core.ids import disk_path, nic_path
from openxt_core.spec import Call, MaybeAwaitable, Value
from openxt_xenmgr.objects.publish import vm_of
from openxt_xenmgr.objects.vm_properties import get_all, get_all_marshalled, get_property, set_property
from openxt_xenmgr.objects.work import Work
from openxt_xenmgr.properties.vm_live import is_locked
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm import devices, rules
from openxt_xenmgr.vm.creation import icon_path
from openxt_xenmgr.vm.launch import passed_devices
from openxt_xenmgr.vm.ovf import environment_xml
from openxt_xenmgr.vm.passthrough import parse_address_rule, parse_match_rule
from openxt_xenmgr.vm.policy import need_edit
from openxt_xenmgr.vm.product import check_value, listing
from openxt_xenmgr.vm.tree import node, text

ICONS = "/usr/lib/xui"


def slashed(key: str) -> str:
    """A key of the old form: dots mean slashes."""
    return key.replace(".", "/")


def found_vm(work: Work, call: Call) -> Vm:
    """The VM of a call's path.  Raises UnknownObject."""
    vm = vm_of(work.world.registry, call.key)
    if vm is None:
        raise UnknownObject(call.path)
    return vm


class VmObject(XenmgrVm):
    """com.citrix.xenclient.xenmgr.vm."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work
        self._vm = found_vm(work, call)

    def get_property(self, name: str) -> MaybeAwaitable[Value]:
        return get_property(self._work, self._vm, self.SPEC, name)

    def set_property(self, name: str, value: Value) -> Awaitable[None]:
        return set_property(self._work, self._vm, self.SPEC, name, value, guarded=True)

    def get_all(self) -> Awaitable[dict[str, Value]]:
        return get_all(self._work, self._vm)

    def get_all_marshalled(self) -> MaybeAwaitable[Marshalled]:
        return get_all_marshalled(self._work, self._vm, self.SPEC)

    # Keys

    def get_db_key(self, key: str) -> Awaitable[str]:
        return self._work.world.db.read(f"{self._vm.db}/{slashed(key)}")

    async def set_db_key(self, key: str, value: str) -> None:
        if not key.strip("./"):
            raise BadRequest("set_db_key: the key is empty")
        await self._work.world.db.write(f"{self._vm.db}/{slashed(key)}", value)

    def get_domstore_key(self, key: str) -> Awaitable[str]:
        return self._work.world.db.read(f"{self._vm.domstore}/{slashed(key)}")

    async def set_domstore_key(self, key: str, value: str) -> None:
        if not key.strip("./"):
            raise BadRequest("set_domstore_key: the key is empty")
        await self._work.world.db.write(f"{self._vm.domstore}/{slashed(key)}", value)

    # Disks and nics

    async def add_disk(self) -> str:
        disk = await devices.add_disk(self._work.world, self._vm)
        path = disk_path(self._vm.uuid, disk)
        await self._work.publisher.added_part(path)
        return path

    async def list_disks(self) -> list[str]:
        await self._work.world.store.dump(self._vm)
        return [disk_path(self._vm.uuid, disk) for disk in sorted(self._vm.disks)]

    async def add_nic(self) -> str:
        nic = await devices.add_nic(self._work.world, self._vm)
        path = nic_path(self._vm.uuid, nic)
        await self._work.publisher.added_part(path)
        return path

    async def list_nics(self) -> list[str]:
        await self._work.world.store.dump(self._vm)
        return [nic_path(self._vm.uuid, nic) for nic in sorted(self._vm.nics)]

    # Life

    def start(self) -> Awaitable[None]:
        return self._work.life.start(self._vm)

    def start_internal(self) -> Awaitable[None]:
        return self._work.life.start_internal(self._vm)

    def shutdown(self) -> Awaitable[None]:
        return self._work.life.shutdown(self._vm)

    def destroy(self) -> Awaitable[None]:
        return self._work.life.destroy(self._vm)

    def reboot(self) -> Awaitable[None]:
        return self._work.life.reboot(self._vm)

    def pause(self) -> Awaitable[None]:
        return self._work.life.pause(self._vm)

    def unpause(self) -> Awaitable[None]:
        return self._work.life.unpause(self._vm)

    def sleep(self) -> Awaitable[None]:
        return self._work.sleeper.sleep(self._vm)

    def hibernate(self) -> Awaitable[None]:
        return self._work.sleeper.hibernate(self._vm)

    async def resume(self) -> None:
        """No error when it does not wake."""
        await self._work.sleeper.resume(self._vm)

    def suspend_to_file(self, file: str) -> Awaitable[None]:
        return self._work.sleeper.suspend_to_file(self._vm, file)

    def resume_from_file(self, file: str) -> Awaitable[None]:
        return self._work.sleeper.resume_from_file(self._vm, file)

    async def create_child_service_vm(self, template: str) -> str:
        if await self._work.world.db.read("/vm-create-disallowed") == "true":
            raise ActionSuppressedByPolicy("policy forbids creating VMs")
        return (await self._work.creator.create_child(self._vm, template)).path

    async def delete(self) -> None:
        world = self._work.world
        if await world.db.read("/vm-delete-disallowed") == "true":
            raise ActionSuppressedByPolicy(f"policy forbids deleting VM {self._vm.uuid}")
        await self._work.remover.remove(self._vm)

    async def switch(self) -> None:
        """No error when the VM does not run, or the switch fails."""
        await self._work.power.focus.switch(self._vm)

    async def read_icon(self) -> bytes:
        image = await self._work.world.db.read(f"{self._vm.db}/image_path")
        path = icon_path(self._work.world.places.at(ICONS), image)
        try:
            return path.read_bytes()
        except OSError as error:
            raise IoError(f"IO error: {image}: {error.strerror}") from error

    # Rules

    async def list_v4v_firewall_rules(self) -> list[str]:
        return rules.v4v_rules(await self._work.world.store.tree(self._vm))

    async def add_v4v_firewall_rule(self, rule: str) -> None:
        await rules.add_v4v(self._work.world, self._vm, rule)
        await self._work.firewall.settle()

    async def delete_v4v_firewall_rule(self, rule: str) -> None:
        await rules.delete_v4v(self._work.world, self._vm, rule)
        await self._work.firewall.settle()

    async def add_net_firewall_rule(self, id: int, direction: str, remoteip: str, extra: str) -> None:
        await self._need_edit()
        await rules.add_net(self._work.world, self._vm, rules.NetRule(id, direction, remoteip, extra))

    async def list_net_firewall_rules(self) -> list[dict[str, str]]:
        return rules.net_rules(await self._work.world.store.tree(self._vm))

    async def delete_net_firewall_rule(self, id: int) -> None:
        await self._need_edit()
        await rules.delete_net(self._work.world, self._vm, id)

    async def _need_edit(self) -> None:
        need_edit(self._vm.uuid, await self._work.world.store.tree(self._vm))


class VmUnrestrictedObject(XenmgrVmUnrestricted):
    """com.citrix.xenclient.xenmgr.vm.unrestricted: the same properties without the guard."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work
        self._vm = found_vm(work, call)

    def get_property(self, name: str) -> MaybeAwaitable[Value]:
        return get_property(self._work, self._vm, self.SPEC, name)

    def set_property(self, name: str, value: Value) -> Awaitable[None]:
        return set_property(self._work, self._vm, self.SPEC, name, value, guarded=False)

    def get_all(self) -> Awaitable[dict[str, Value]]:
        return get_all(self._work, self._vm)

    def get_all_marshalled(self) -> MaybeAwaitable[Marshalled]:
        return get_all_marshalled(self._work, self._vm, self.SPEC)


class VmProductObject(XenmgrVmProduct):
    """com.citrix.xenclient.xenmgr.vm.product: what an appliance asks its owner to fill in."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work
        self._vm = found_vm(work, call)

    async def list_product_properties(self) -> list[dict[str, str]]:
        return listing(await self._work.world.store.tree(self._vm))

    async def get_product_property(self, property_id: str) -> str:
        tree = await self._work.world.store.tree(self._vm)
        return text(tree, f"productproperty/{_one_element(property_id)}/value")

    async def set_product_property(self, property_id: str, value: str) -> None:
        tree = await self._work.world.store.tree(self._vm)
        key = f"productproperty/{_one_element(property_id)}"
        if node(tree, key) is None:
            raise BadRequest(f"VM {self._vm.uuid} has no product property {property_id[:60]!r}")
        check_value(text(tree, f"{key}/type", "String"), value)
        await self._work.world.db.write(f"{self._vm.db}/{key}/value", value)

    async def get_ovf_env_xml(self) -> str:
        return await environment_xml(self._work.world, self._vm)


def _one_element(property_id: str) -> str:
    if not property_id or "/" in property_id:
        raise BadRequest(f"not the id of a product property: {property_id[:60]!r}")
    return property_id


class VmAuthObject(XenmgrVmAuth):
    """com.citrix.xenclient.xenmgr.vm.auth: whose keys the VM needs."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work
        self._vm = found_vm(work, call)

    async def auth_required(self) -> bool:
        return is_locked(await self._work.world.store.config(self._vm))

    async def auth(self) -> None:
        user = await self._work.world.db.read(f"{self._vm.db}/crypto-user")
        if user:
            await self._work.world.input.ask_to_authenticate(user)


class VmPciObject(XenmgrVmPci):
    """com.citrix.xenclient.xenmgr.vm.pci: passthrough rules, and the devices that they mean now."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work
        self._vm = found_vm(work, call)

    async def add_pt_rule(self, pciclass: str, vendor_id: str, device_id: str) -> None:
        rule = parse_match_rule(pciclass, vendor_id, device_id)
        await rules.add_pci(self._work.world, self._vm, rule)

    async def add_pt_rule_bdf(self, bdf: str) -> None:
        await rules.add_pci(self._work.world, self._vm, parse_address_rule(bdf))

    async def delete_pt_rule(self, pciclass: str, vendor_id: str, device_id: str) -> None:
        rule = parse_match_rule(pciclass, vendor_id, device_id)
        await rules.delete_pci(self._work.world, self._vm, rule)

    async def delete_pt_rule_bdf(self, bdf: str) -> None:
        await rules.delete_pci(self._work.world, self._vm, parse_address_rule(bdf))

    async def list_pt_rules(self) -> list[dict[str, str]]:
        return rules.pci_rules(await self._work.world.store.tree(self._vm))

    async def list_pt_pci_devices(self) -> list[dict[str, str]]:
        return await passed_devices(self._work.world, self._vm)


FACES: tuple[Any, ...] = (VmObject, VmUnrestrictedObject, VmProductObject, VmAuthObject, VmPciObject)
