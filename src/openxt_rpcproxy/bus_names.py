# SPDX-License-Identifier: GPL-2.0-or-later
"""Who owns which well-known name, kept up to date by the bus's own signal.

For rules that name services while clients address connections.
"""

import asyncio
import logging

from openxt_bus.connection import BUS_PATH, Bus
from openxt_bus.matching import BUS_NAME, Match, Signal
from openxt_core.errors import OpenxtError

log = logging.getLogger(__name__)


class BusNames:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._owned: dict[str, dict[str, None]] = {}  # unique name → its well-known names, oldest first
        self._told: set[str] | None = set()  # names that signals spoke of while the others were looked up

    async def watch(self) -> None:
        """Know every name from now on.  Raises OpenxtError."""
        match = Match(BUS_NAME, "NameOwnerChanged", sender=BUS_NAME)
        await self._bus.subscribe(match, self._changed)
        (names,) = await self._bus.call(BUS_NAME, BUS_PATH, BUS_NAME, "ListNames")
        async with asyncio.TaskGroup() as group:
            for name in names:
                if not name.startswith(":"):
                    group.create_task(self._look_up(name))
        self._told = None

    async def _look_up(self, name: str) -> None:
        """What a signal said meanwhile is newer than what is answered here."""
        try:
            owner = await self._bus.name_owner(name)
        except OpenxtError as error:
            log.warning("the owner of %s is not known: %s", name, error)
            return
        if owner is not None and self._told is not None and name not in self._told:
            self._owned.setdefault(owner, {})[name] = None

    def _changed(self, signal: Signal) -> None:
        name, old, new = signal.body
        if name.startswith(":"):
            self._owned.pop(name, None)
            return
        if self._told is not None:
            self._told.add(name)
        if old in self._owned:
            self._owned[old].pop(name, None)
        if new:
            self._owned.setdefault(new, {})[name] = None

    def well_known(self, unique: str) -> str:
        """The name that this connection took last; "" when it owns none."""
        return next(reversed(self._owned.get(unique) or {"": None}))
