# SPDX-License-Identifier: GPL-2.0-or-later
"""Buttons, lid and battery → power actions of the host.  Source: OpenXT xenmgr, 2015."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from openxt_bus.connection import Match, Signal
from openxt_xenmgr.host.power import HostPower
from openxt_xenmgr.links.input import NAME as INPUT
from openxt_xenmgr.world import World

XCPMD = "com.citrix.xenclient.xcpmd"
LID, AC_ADAPTER, BATTERY = "/pm/lid_state", "/pm/ac_adapter", "/pm/currentbatterylevel"
CLOSED, ON_MAINS, CRITICAL = "0", "1", "3"
AC_LID_ACTION = "/power-management/ac-lid-close-action"
BATTERY_LID_ACTION = "/power-management/battery-lid-close-action"


@dataclass(frozen=True)
class PowerEvents:
    """Listens to whoever owns the names of the power and input daemons, now or later."""

    world: World
    power: HostPower

    async def follow(self) -> None:
        heard: tuple[tuple[str, str, Callable[[], Coroutine[Any, Any, None]]], ...] = (
            (XCPMD, "power_button_pressed", lambda: self.power.perform("shutdown")),
            (XCPMD, "sleep_button_pressed", lambda: self.power.perform("sleep", remember=True)),
            (XCPMD, "battery_level_notification", self._battery),
            (INPUT, "lid_state_changed", self._lid),
        )
        for sender, member, react in heard:
            await self.world.bus.subscribe(Match(sender, member, sender=sender), self._in_background(react))

    def _in_background(self, react: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[Signal], None]:
        return lambda signal: self.world.background.spawn(signal.member, react())

    async def _battery(self) -> None:
        if await self.world.nodes.xs.read(BATTERY) == CRITICAL:
            await self.power.perform("hibernate", remember=True, supervised=False)

    async def _lid(self) -> None:
        if await self.world.nodes.xs.read(LID) != CLOSED:
            return
        on_mains = await self.world.nodes.xs.read(AC_ADAPTER) == ON_MAINS
        action = await self.world.db.read(AC_LID_ACTION if on_mains else BATTERY_LID_ACTION)
        remember = action in ("sleep", "hibernate")
        await self.power.perform(action or "nothing", remember=remember, supervised=False)
