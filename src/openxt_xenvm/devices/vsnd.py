# SPDX-License-Identifier: GPL-2.0-or-later
"""The paravirtual sound card.  Pure; no handshake: its backend comes when it likes."""

from dataclasses import dataclass
from typing import ClassVar

from openxt_xenvm.devices.base import Device, Guest, XenbusState

STARTING = str(XenbusState.INITIALISING)


@dataclass(frozen=True)
class Vsnd(Device):
    """A sound card.  Keys: OpenXT xenops, 2015."""

    kind: ClassVar[str] = "vsnd"

    def frontend_keys(self, guest: Guest) -> dict[str, str]:
        return {"state": STARTING}

    def backend_keys(self, guest: Guest) -> dict[str, str]:
        return {"online": "1", "state": STARTING}
