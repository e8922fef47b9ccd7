# SPDX-License-Identifier: GPL-2.0-or-later
"""Faces of `/host`: the machine, lid actions, the state of the installation."""

import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from openxt_api.xenmgr_host import XenmgrHost, XenmgrInstaller, XenmgrPowersettings
from openxt_core.errors import BadRequest, IoError
from openxt_core.spec import Call, Value
from openxt_xenmgr.host import facts
from openxt_xenmgr.host.installation import DEFERRED
from openxt_xenmgr.objects.settings import all_settings, get_setting, set_setting
from openxt_xenmgr.objects.work import Work
from openxt_xenmgr.properties.config import POWER_ACTIONS
from openxt_xenmgr.properties.host import ROWS
from openxt_xenmgr.properties.table import by_name

HOST_ROWS = by_name(ROWS)
AC_LID = "/power-management/ac-lid-close-action"
BATTERY_LID = "/power-management/battery-lid-close-action"
UI_PLUGINS = "/usr/lib/xui/plugins"
EMPTY_DISC = "null.iso"


class HostObject(XenmgrHost):
    """com.citrix.xenclient.xenmgr.host."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._world = work.world
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
        return facts.pci_devices(self._world.places)

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
