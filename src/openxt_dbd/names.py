# SPDX-License-Identifier: GPL-2.0-or-later
"""What to call the owner of a unique bus name in the history: the program in dom0, or the VM."""

import logging
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from openxt_core.errors import OpenxtError

if TYPE_CHECKING:
    from openxt_bus.connection import Bus
    from openxt_bus.identity import Caller

log = logging.getLogger(__name__)

MAX_REMEMBERED: Final = 4096
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


class Names:
    """A sender is asked about once, while its first call waits; its program may have ended soon after."""

    def __init__(self, bus: "Bus") -> None:
        self._bus = bus
        self._known: OrderedDict[str, str] = OrderedDict()

    def of(self, sender: str) -> str:
        """Program and unique name; the latter alone for a sender that is not known."""
        return self._known.get(sender, sender)

    async def learn(self, sender: str, caller: "Caller") -> None:
        """Find out what `of` shall say."""
        who = f"{await self._program(sender)} {sender}" if caller.is_dom0 else f"VM {caller.uuid}"
        self._known[sender] = who
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    async def _program(self, sender: str) -> str:
        try:
            (pid,) = await self._bus.call(*_BUS, "GetConnectionUnixProcessID", "s", (sender,))
            return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
        except (OpenxtError, OSError) as error:
            log.debug("nobody knows the program of %s: %s", sender, error)
            return "?"
