# SPDX-License-Identifier: GPL-2.0-or-later
"""The paravirtual screen.  Pure; no handshake: its backend comes when it likes."""

from dataclasses import dataclass
from typing import ClassVar

from openxt_xenvm.devices.base import PROTOCOL, Device, Guest, XenbusState

STARTING = str(XenbusState.INITIALISING)


@dataclass(frozen=True)
class Vfb(Device):
    """A framebuffer.  Keys: xen/include/public/io/fbif.h."""

    kind: ClassVar[str] = "vfb"

    def frontend_keys(self, guest: Guest) -> dict[str, str]:
        return {"protocol": PROTOCOL, "state": STARTING}

    def backend_keys(self, guest: Guest) -> dict[str, str]:
        return {"online": "1", "state": STARTING}
