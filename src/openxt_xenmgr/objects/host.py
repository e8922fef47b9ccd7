# SPDX-License-Identifier: GPL-2.0-or-later
"""Faces of `/host`: the machine, lid actions, the state of the installation."""

import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from openxt_api.xenmgr_host import XenmgrHost, XenmgrInstaller, XenmgrPowersettings
from openxt_core.errors import BadRequest, IoError, Refused
from openxt_core.ids import parse_uuid
from openxt_core.spec import Call, Value
from openxt_xenmgr.host import drives, facts, gpus, pci, sound
from openxt_xenmgr.host.installation import DEFERRED
from openxt_xenmgr.objects.settings import all_settings, get_setting, set_setting
from openxt_xenmgr.objects.work import Work
from openxt_xenmgr.properties.config import POWER_ACTIONS
from openxt_xenmgr.properties.host import ROWS
from openxt_xenmgr.properties.table import by_name
from openxt_xenmgr.vm import discs
from openxt_xenmgr.vm.model import EMPTY_DISC

HOST_ROWS = by_name(ROWS)
AC_LID = "/power-management/ac-lid-close-action"
BATTERY_LID = "/power-management/battery-lid-close-action"
UI_PLUGINS = "/usr/lib/xui/plugins"


class HostObject(XenmgrHost):
    """com.citrix.xenclient.xenmgr.host."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._world = work.world
        self._places = work.world.places
        self._power = work.power

    def get_property(self, name: str) -> Awaitable[Value]:
        return get_setting(self._world, HOST_ROWS, self.SPEC, name)

    def set_property(self, name: str, value: Value) -> Awaitable[None]:
        return set_setting(self._world, "/host", HOST_ROWS, self.SPEC, name, value)

    def get_all(self) -> Awaitable[dict[str, Value]]:
        return all_settings(self._world, HOST_ROWS)

    async def list_isos(self) -> list[str]:
        folder = await self._world.db.read("/xenmgr/isos") or "/storage/isos"
        return [name for name in _names(self._world.places.at(folder)) if _is_disc(name)]

    def list_pci_devices(self) -> list[dict[str, str]]:
        return [device.record() for device in pci.inventory(self._world.places)]

    async def list_gpu_devices(self) -> list[dict[str, str]]:
        return await gpus.listed(self._world)

    async def configure_gpu_placement(self, id: str, slot: int) -> None:
        await gpus.place(self._world, id, slot)

    async def get_gpu_placement(self, id: str) -> int:
        return await gpus.placement(self._world, id)

    def list_disk_devices(self) -> list[dict[str, str]]:
        return drives.disks(self._places)

    def list_playback_devices(self) -> list[dict[str, str]]:
        return sound.pcm_devices(self._places, "playback")

    def list_capture_devices(self) -> list[dict[str, str]]:
        return sound.pcm_devices(self._places, "capture")

    def list_sound_cards(self) -> list[dict[str, str]]:
        return sound.cards(self._places)

    async def list_sound_card_controls(self, card: str) -> list[dict[str, str]]:
        return await sound.controls(self._places, card)

    async def get_sound_card_control(self, card: str, control: str) -> str:
        return await sound.control(self._places, card, control)

    async def set_sound_card_control(self, card: str, control: str, value: str) -> None:
        await sound.set_control(self._places, card, control, value)

    async def list_cd_devices(self) -> list[dict[str, str]]:
        return await discs.listed(self._world)

    async def assign_cd_device(self, devid: str, sticky: bool, vm_uuid: str) -> None:
        vm = self._world.registry.find(parse_uuid(vm_uuid)) if vm_uuid else None
        if vm_uuid and vm is None:
            raise BadRequest(f"there is no VM {vm_uuid[:60]}")
        await discs.assign(self._world, devid, vm, sticky=sticky)

    async def get_cd_device_assignment(self, devid: str) -> tuple[bool, str]:
        return await discs.holder(self._world, devid)

    async def eject_cd_device(self, devid: str) -> None:
        await drives.eject(self._places, drives.drive(self._places, devid))

    def set_license(self, expiry: str, device_uuid: str, hash: str) -> None:
        raise Refused("this host needs no licence, and takes none")

    def list_ui_plugins(self, subdir: str) -> list[str]:
        top = self._world.places.at(UI_PLUGINS)
        folder = (top / subdir).resolve()
        if not folder.is_relative_to(top.resolve()):
            raise BadRequest(f"{subdir[:60]!r} is outside the folder of plugins")
        return _names(folder)

    async def is_service_running(self, service: str) -> bool:
        return await self._world.bus.name_owner(service) is not None

    def shutdown(self) -> Awaitable[None]:
        return self._power.perform("shutdown")

    def reboot(self) -> Awaitable[None]:
        return self._power.perform("reboot")

    def sleep(self) -> Awaitable[None]:
        return self._power.perform("sleep", remember=True)

    def hibernate(self) -> Awaitable[None]:
        return self._power.perform("hibernate", remember=True)

    def get_seconds_from_epoch(self) -> int:
        return int(time.time())


def _names(folder: Path) -> list[str]:
    """Names of a folder's entries; none when it is not there."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def _is_disc(name: str) -> bool:
    return name.endswith(".iso") and name != EMPTY_DISC


class PowerSettingsObject(XenmgrPowersettings):
    """com.citrix.xenclient.xenmgr.powersettings: what closing the lid does, stored."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._db = work.world.db

    async def get_ac_lid_close_action(self) -> str:
        return await self._db.read(AC_LID) or "nothing"

    async def get_battery_lid_close_action(self) -> str:
        return await self._db.read(BATTERY_LID) or "nothing"

    async def set_ac_lid_close_action(self, action: str) -> None:
        await self._db.write(AC_LID, _checked(action))

    async def set_battery_lid_close_action(self, action: str) -> None:
        await self._db.write(BATTERY_LID, _checked(action))


def _checked(action: str) -> str:
    if action not in POWER_ACTIONS:
        raise BadRequest(f"action cannot be {action[:60]!r}: allowed are {', '.join(POWER_ACTIONS)}")
    return action


class InstallerObject(XenmgrInstaller):
    """com.citrix.xenclient.xenmgr.installer: steps of the installation that were put off."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._places = work.world.places

    def get_eula(self) -> str:
        """In the host's language, else in English; empty when there is none."""
        language = facts.language(self._places)
        names = (f"EULA-{language}", "EULA-en-us", "EULA")
        texts = (facts.read_text(self._places.at("/usr/share/xenclient") / name) for name in names)
        return next(filter(None, texts), "")

    def get_installstate(self) -> dict[str, str]:
        return {name: str(self._places.at(path).exists()) for name, path, _ in DEFERRED}

    def progress_installstate(self, action: str) -> None:
        path = next((path for _, path, step in DEFERRED if step == action), None)
        if path is None:
            known = ", ".join(step for *_, step in DEFERRED)
            raise BadRequest(f"action cannot be {action[:60]!r}: allowed are {known}")
        try:
            self._places.at(path).unlink(missing_ok=True)
        except OSError as error:
            raise IoError(f"IO error: {path}: {error.strerror}") from error


FACES: tuple[Any, ...] = (PowerSettingsObject, HostObject, InstallerObject)
