# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's first console, which xenconsoled serves.  Pure.

Its frontend is not below `device`, and belongs to the control domain: the guest only reads it.
"""

from dataclasses import dataclass
from typing import ClassVar

from openxt_xen.xenstore import paths
from openxt_xen.xenstore.wire import Permission
from openxt_xenvm.devices.base import Device, Guest, XenbusState
from openxt_xenvm.domain.nodes import readable_by

LIMIT_BYTES = 1048576  # of output that xenconsoled keeps (libxl's figure)


@dataclass(frozen=True)
class Console(Device):
    """Keys: xen/include/public/io/console.h and libxl 4.17."""

    kind: ClassVar[str] = "console"

    def frontend_path(self, guest: Guest) -> str:
        return f"{paths.domain(guest.domid)}/console"

    def frontend_access(self, guest: Guest) -> tuple[Permission, ...]:
        return readable_by(guest.domid)

    def frontend_keys(self, guest: Guest) -> dict[str, str]:
        return {
            "limit": str(LIMIT_BYTES),
            "type": "xenconsoled",
            "output": "pty",
            "tty": "",
            "port": str(guest.console_port),
            "ring-ref": str(guest.rings.console),
        }

    def backend_keys(self, guest: Guest) -> dict[str, str]:
        return {"online": "1", "state": str(XenbusState.INITIALISING), "protocol": "vt100"}
