# SPDX-License-Identifier: GPL-2.0-or-later
"""A TPM of the guest's own.  Pure; no handshake: its backend, and the host's script, come when they like."""

from dataclasses import dataclass
from typing import ClassVar

from openxt_xenvm.devices.base import Device, Guest, XenbusState

STARTING = str(XenbusState.INITIALISING)


@dataclass(frozen=True)
class Vtpm(Device):
    """Keys: OpenXT xenops, 2015, whose `domain` was always this word."""

    kind: ClassVar[str] = "vtpm"

    instance: int = 0

    def frontend_keys(self, guest: Guest) -> dict[str, str]:
        return {"state": STARTING}

    def backend_keys(self, guest: Guest) -> dict[str, str]:
        return {
            "online": "1",
            "pref_instance": str(self.instance),
            "resume": "False",
            "uuid": guest.uuid,
            "domain": "vtpm-domain",
            "state": STARTING,
        }
