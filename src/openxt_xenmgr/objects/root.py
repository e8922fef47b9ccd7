# SPDX-License-Identifier: GPL-2.0-or-later
"""Faces of `/`: the VMs, their creation, policy, settings, requests of guests."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from openxt_api.xenmgr import (
    Policy,
    Xenmgr,
    XenmgrConfig,
    XenmgrConfigUi,
    XenmgrDiag,
    XenmgrGuestreq,
    XenmgrGuestreqSignals,
    XenmgrTesting,
    XenmgrUnrestricted,
)
from openxt_core.errors import ActionSuppressedByPolicy, BadRequest, NotSupported, Refused
from openxt_core.ids import Uuid, parse_uuid, vm_path
from openxt_core.spec import Call, Value
from openxt_xenmgr.host import images
from openxt_xenmgr.objects.settings import all_settings, get_setting, set_setting
from openxt_xenmgr.objects.work import Work
from openxt_xenmgr.properties import config, ui
from openxt_xenmgr.properties.table import by_name
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm import discs, policy
from openxt_xenmgr.vm.creation import Wanted
from openxt_xenmgr.vm.diagnostics import report_text, status_report
from openxt_xenmgr.vm.firewall import SETTING as FIREWALL_SETTING
from openxt_xenmgr.vm.templates import DEFAULT
from openxt_xenmgr.vm.tree import text

TAAS = "the TaaS service is gone: status reports are not sent to it"
PACK_KEYS = ("vendor", "name", "description", "version", "image")
CONFIG_ROWS = by_name(config.ROWS)
AUTOLOCK_SETTING = "autolock-cd-drives"
UI_ROWS = by_name(ui.ROWS)


async def known_vm(work: Work, uuid_text: str) -> Vm:
    """A VM of the database.  Raises BadRequest for another."""
    uuid = parse_uuid(uuid_text)
    vm = await _vm_at(work, uuid) if await work.world.db.exists(f"/vm/{uuid}") else None
    if vm is None:
        raise BadRequest(f"there is no VM {uuid}")
    return vm


async def _vm_at(work: Work, uuid: Uuid) -> Vm | None:
    """The VM of a listed entry of the database; None where something else is stored than a VM's tree."""
    vm = work.world.registry.find(uuid)
    if vm is not None and not vm.is_missing:
        return vm
    tree = await work.world.db.dump(f"/vm/{uuid}")
    return work.world.registry.add(uuid) if isinstance(tree, dict) else None


class RootObject(Xenmgr):
    """com.citrix.xenclient.xenmgr."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work

    async def list_vms(self) -> list[str]:
        """In database order; a VM that came there by itself becomes known, and what is no VM is left out."""
        names = await self._work.world.db.list("/vm")
        found = [await _vm_at(self._work, Uuid(name)) for name in names if _is_uuid(name)]
        return [vm.path for vm in found if vm is not None]

    async def list_domids(self) -> list[int]:
        return [int(vm.domid) for vm in self._work.world.registry if vm.domid is not None]

    async def find_vm_by_uuid(self, uuid: str) -> str:
        return (await known_vm(self._work, uuid)).path

    async def find_vm_by_domid(self, domid: int) -> str:
        vm = self._work.world.registry.of_domid(domid)
        if vm is None:
            raise BadRequest(f"no VM has domain {domid}")
        return vm.path

    async def list_templates(self) -> list[str]:
        return self._work.world.templates.names()

    async def list_child_service_vm_templates(self) -> list[str]:
        return self._work.world.templates.children()

    async def list_ui_templates(self) -> list[dict[str, str]]:
        return self._work.world.templates.for_ui()

    async def create_vm(self) -> str:
        return await self._create(Wanted(DEFAULT))

    async def create_vm_with_template(self, template: str) -> str:
        return await self._create(Wanted(template))

    async def create_vm_with_template_and_uuid(self, template: str, uuid: str) -> str:
        return await self._create(Wanted(template, uuid=uuid))

    async def create_vm_with_template_and_json(self, template: str, json: str) -> str:
        return await self._create(Wanted(template, json))

    async def create_vm_with_ui(self, template: str, name: str, description: str, image_path: str) -> str:
        return await self._create(Wanted(template, name=name, description=description, image_path=image_path))

    async def list_extension_packs(self) -> list[dict[str, str]]:
        """Legacy: what the database holds of them."""
        stored = await self._work.world.db.dump("/extpack")
        packs = stored.items() if isinstance(stored, dict) else ()
        return [{"id": id, **{key: text(pack, key) for key in PACK_KEYS}} for id, pack in packs]

    async def create_vhd(self, size_mb: int) -> str:
        return str(await images.create(self._work.world.places, size_mb))

    async def _create(self, wanted: Wanted) -> str:
        if await self._work.world.db.read("/vm-create-disallowed") == "true":
            raise ActionSuppressedByPolicy("policy forbids creating VMs")
        return (await self._work.creator.create(wanted)).path


def _is_uuid(name: str) -> bool:
    try:
        return parse_uuid(name) == name
    except BadRequest:
        return False


class UnrestrictedObject(XenmgrUnrestricted):
    """com.citrix.xenclient.xenmgr.unrestricted: the same without the policy."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work

    async def unrestricted_create_vm(self) -> str:
        return (await self._work.creator.create(Wanted(DEFAULT))).path

    async def unrestricted_create_vm_with_template_and_json(self, template: str, json: str) -> str:
        return (await self._work.creator.create(Wanted(template, json))).path

    async def unrestricted_delete_vm(self, uuid: str) -> None:
        """Also what is stored in place of a VM, and is none."""
        found = parse_uuid(uuid)
        if not await self._work.world.db.exists(f"/vm/{found}"):
            raise BadRequest(f"there is no VM {found}")
        await self._work.remover.remove(self._work.world.registry.add(found))


class PolicyObject(Policy):
    """com.citrix.xenclient.policy."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work

    async def enforce(self, uuid: str, value: str) -> None:
        vm = await known_vm(self._work, uuid)
        await self._work.world.store.change(vm, policy.enforce(value), always=True)

    async def retrieve(self, uuid: str) -> str:
        vm = await known_vm(self._work, uuid)
        return policy.retrieve(await self._work.world.store.tree(vm))


class ConfigObject(XenmgrConfig):
    """com.citrix.xenclient.xenmgr.config."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work
        self._world = work.world

    def get_property(self, name: str) -> Awaitable[Value]:
        return get_setting(self._world, CONFIG_ROWS, self.SPEC, name)

    async def set_property(self, name: str, value: Value) -> None:
        await set_setting(self._world, "/", CONFIG_ROWS, self.SPEC, name, value)
        if name == FIREWALL_SETTING:
            await self._work.firewall.settle()
        elif name == AUTOLOCK_SETTING:
            await discs.write_autolock(self._world)

    def get_all(self) -> Awaitable[dict[str, Value]]:
        return all_settings(self._world, CONFIG_ROWS)


class UiObject(XenmgrConfigUi):
    """com.citrix.xenclient.xenmgr.config.ui."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._world = work.world

    def get_property(self, name: str) -> Awaitable[Value]:
        return get_setting(self._world, UI_ROWS, self.SPEC, name)

    def set_property(self, name: str, value: Value) -> Awaitable[None]:
        return set_setting(self._world, "/", UI_ROWS, self.SPEC, name, value)

    def get_all(self) -> Awaitable[dict[str, Value]]:
        return all_settings(self._world, UI_ROWS)


class GuestRequestObject(XenmgrGuestreq):
    """com.citrix.xenclient.xenmgr.guestreq."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work

    async def request_attention(self) -> None:
        """Pass on that the calling guest wants the user; anybody else asks for nothing."""
        caller = await self._work.identity.of(self.call.sender)
        if not caller.is_dom0 and caller.uuid and self._work.world.registry.find(caller.uuid):
            signals = XenmgrGuestreqSignals(self._work.world.bus, "/")
            signals.requested_attention(caller.uuid, vm_path(caller.uuid))


class DiagnosticsObject(XenmgrDiag):
    """com.citrix.xenclient.xenmgr.diag.  The TaaS service is gone: its methods are not supported."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._work = work

    async def save(self, mode: str) -> str:
        return await self._work.diagnostics.save(mode)

    async def gather(self, name: str, data_: str) -> None:
        await self._work.diagnostics.gather(name, data_)

    async def create_status_report(
        self,
        screenshots: bool,
        guest_info: bool,
        summary: str,
        description: str,
        repro_steps: str,
        ticket: str,
    ) -> str:
        report = report_text(summary, description, repro_steps, ticket)
        places = self._work.world.places
        return await status_report(places, report, screenshots=screenshots, guest_info=guest_info)

    async def status_report_screen(self, show: bool) -> None:
        await self._work.diagnostics.show_screen(show)

    def taas_authenticate_credentials(self, username: str, password: str) -> list[str]:
        raise NotSupported(TAAS)

    def taas_upload(self, username: str, password: str, caseid: str, filename: str) -> bool:
        raise NotSupported(TAAS)

    def taas_agree_terms(self, username: str, password: str, version: str) -> bool:
        raise NotSupported(TAAS)


class TestingObject(XenmgrTesting):
    """com.citrix.xenclient.xenmgr.testing: scripts for a user interface under test, first in, first out."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._scripts = work.scripts

    def script_queue(self, script: str) -> None:
        try:
            self._scripts.put_nowait(script)
        except asyncio.QueueFull:
            raise Refused(f"{self._scripts.maxsize} scripts wait already") from None

    async def script_dequeue(self) -> str:
        """Waits until there is one."""
        return await self._scripts.get()


FACES: tuple[Any, ...] = (
    RootObject,
    ConfigObject,
    UiObject,
    PolicyObject,
    DiagnosticsObject,
    TestingObject,
    UnrestrictedObject,
    GuestRequestObject,
)
