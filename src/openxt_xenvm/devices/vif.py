# SPDX-License-Identifier: GPL-2.0-or-later
"""A network card behind Linux's netback.  Pure.

Who plugs the card puts its interface on the bridge; netback only insists that a script is named.
Keys: xen/include/public/io/netif.h; OpenXT xenops, 2015.
"""

from dataclasses import dataclass
from typing import ClassVar

from openxt_core.ids import Domid
from openxt_xenvm.config.model import Nic
from openxt_xenvm.devices.base import PROTOCOL, Device, Guest, XenbusState

STARTING = str(XenbusState.INITIALISING)
SCRIPT = "/etc/xensource/scripts/vif"
"""Told to the host's udev rules, where it has any.  Source: OpenXT xenops, 2015."""


@dataclass(frozen=True)
class Vif(Device):
    kind: ClassVar[str] = "vif"
    names_server: ClassVar[bool] = True

    mac: str = ""
    bridge: str = ""
    network: str = ""

    @property
    def is_by_script(self) -> bool:
        """Whether another domain, or the network daemon, connects it."""
        return bool(self.backend_domid) or not self.bridge

    def frontend_keys(self, guest: Guest) -> dict[str, str]:
        keys = {"handle": str(self.devid), "mac": self.mac, "protocol": PROTOCOL}
        return {**keys, "state": STARTING}

    def backend_keys(self, guest: Guest) -> dict[str, str]:
        keys = {"online": "1", "handle": str(self.devid), "mac": self.mac}
        bridge = {"bridge": self.bridge} if self.bridge else {}
        return {**keys, **bridge, "script": SCRIPT, "state": STARTING}

    def interface(self, guest: Guest) -> str:
        """What netback calls its end.  Source: Linux, drivers/net/xen-netback."""
        return interface_of(guest.domid, self.devid)


def interface_of(domid: Domid, devid: int) -> str:
    return f"vif{domid}.{devid}"


@dataclass(frozen=True)
class Vwif(Vif):
    """One that looks like a wireless card to the guest; its backend is that of any other."""

    kind: ClassVar[str] = "vwif"

    @property
    def backend_kind(self) -> str:
        return Vif.kind


def vif(nic: Nic) -> Vif:
    """The device of a card that has its id, address and place."""
    assert nic.id is not None
    make = Vwif if nic.is_wireless else Vif
    return make(nic.id, Domid(nic.backend_domid), mac=nic.mac, bridge=nic.bridge, network=nic.network)
