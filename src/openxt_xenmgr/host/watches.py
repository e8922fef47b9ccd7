# SPDX-License-Identifier: GPL-2.0-or-later
"""What is looked at every 30 s: room on /storage, and whether anybody still uses the host.

**Source:** OpenXT xenmgr, 2015: periods, threshold, signal.
"""

import asyncio
import logging
from dataclasses import dataclass

from openxt_api.xenmgr_host import XenmgrHostSignals
from openxt_core.errors import OpenxtError
from openxt_xenmgr.host.facts import storage_mib
from openxt_xenmgr.host.power import HostPower
from openxt_xenmgr.vm.tree import parse_int
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

PERIOD_S = 30.0
LOW_KEY = "/xenmgr/storage-space-low-percent"
LOW_PERCENT = 5
IDLE_KEY = "/xenmgr/idle-time-threshold"  # seconds; 0: never


def percent_free(total: int, free: int) -> int | None:
    """Rounded; None for a file system without blocks."""
    return round(100 * free / total) if total > 0 else None


@dataclass(frozen=True)
class Watches:
    world: World
    power: HostPower

    async def keep(self) -> None:
        """Look at once, and then again and again; a failure is logged and ends nothing."""
        while True:
            for look in (self._storage, self._idleness):
                try:
                    await look()
                except OpenxtError as error:
                    log.warning("%s", error)
            await asyncio.sleep(PERIOD_S)

    async def _storage(self) -> None:
        percent = percent_free(*storage_mib(self.world.places))
        if percent is not None and percent <= await self._number(LOW_KEY, LOW_PERCENT):
            log.warning("%d %% of the storage is free", percent)
            XenmgrHostSignals(self.world.bus, "/host").storage_space_low(percent)

    async def _idleness(self) -> None:
        """A host that nobody has touched for so long goes to sleep."""
        threshold_s = await self._number(IDLE_KEY, 0)
        if threshold_s > 0 and await self.world.input.idle_s() >= threshold_s:
            log.info("nobody has used the host for %d s: it goes to sleep", threshold_s)
            self.world.background.spawn("sleep of an idle host", self.power.perform("sleep"))

    async def _number(self, key: str, default: int) -> int:
        found = parse_int(await self.world.db.read(key))
        return default if found is None else found
