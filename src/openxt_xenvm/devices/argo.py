# SPDX-License-Identifier: GPL-2.0-or-later
"""The inter-domain channel (v4v, today Argo).  Pure; no handshake: its backend comes when it likes."""

from dataclasses import dataclass
from typing import ClassVar

from openxt_xenvm.devices.base import Device, Guest, XenbusState

STARTING = str(XenbusState.INITIALISING)


@dataclass(frozen=True)
class V4v(Device):
    """A node pair that makes the guest load its driver.  Keys: OpenXT xenops, 2015."""

    kind: ClassVar[str] = "v4v"

    def frontend_keys(self, guest: Guest) -> dict[str, str]:
        return {"state": STARTING}

    def backend_keys(self, guest: Guest) -> dict[str, str]:
        return {"state": str(XenbusState.UNKNOWN)}
