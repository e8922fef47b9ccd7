# SPDX-License-Identifier: GPL-2.0-or-later
"""Keyboard and mouse.  Pure; no handshake: its backend comes when it likes."""

from dataclasses import dataclass
from typing import ClassVar

from openxt_xenvm.devices.base import PROTOCOL, Device, Guest, XenbusState

STARTING = str(XenbusState.INITIALISING)


@dataclass(frozen=True)
class Vkbd(Device):
    """devid 0 is the keyboard, 1 the mouse.  Keys: xen/include/public/io/kbdif.h."""

    kind: ClassVar[str] = "vkbd"

    def frontend_keys(self, guest: Guest) -> dict[str, str]:
        return {"protocol": PROTOCOL, "state": STARTING}

    def backend_keys(self, guest: Guest) -> dict[str, str]:
        return {"online": "1", "state": STARTING}
