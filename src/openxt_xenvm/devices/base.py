# SPDX-License-Identifier: GPL-2.0-or-later
"""What every device is: a kind, a number, two ends, and the nodes of each.  Pure: writes nothing.

A device does not know its guest's domid, which is new at each start: `Guest` brings it.
"""

import enum
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from openxt_core.ids import DOM0, DOM0_UUID, Domid, Uuid
from openxt_xen.hypervisor import Rings
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.wire import Permission
from openxt_xenvm.domain.nodes import Node

PROTOCOL = "x86_64-abi"
"""How 64-bit x86 guests lay out shared rings.  Source: xen/include/public/io/protocols.h."""


class XenbusState(enum.IntEnum):
    """Source: xen/include/public/io/xenbus.h."""

    UNKNOWN = 0
    INITIALISING = 1
    INIT_WAIT = 2
    INITIALISED = 3
    CONNECTED = 4
    CLOSING = 5
    CLOSED = 6
    RECONFIGURING = 7
    RECONFIGURED = 8

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Guest:
    """A built domain, as far as its devices must know it."""

    domid: Domid
    uuid: Uuid
    console_port: int
    rings: Rings


@dataclass(frozen=True)
class Device:
    """One class a kind; the keys that link the two ends are added by `nodes`."""

    devid: int = 0
    backend_domid: Domid = DOM0
    backend_uuid: Uuid = field(default=DOM0_UUID, kw_only=True)  # of the VM whose domain that is

    kind: ClassVar[str]
    """Its name in XenStore paths."""
    ready: ClassVar[frozenset[XenbusState]] = frozenset(
        {XenbusState.INIT_WAIT, XenbusState.INITIALISED, XenbusState.CONNECTED}
    )
    """States of a backend that has done all it can do without the guest."""
    names_server: ClassVar[bool] = False
    """Whether the frontend says which VM serves it: a domain's number is another one after each start."""

    @property
    def backend_kind(self) -> str:
        """Its name in the paths of backends."""
        return self.kind

    @abstractmethod
    def frontend_keys(self, guest: Guest) -> dict[str, str]: ...

    @abstractmethod
    def backend_keys(self, guest: Guest) -> dict[str, str]: ...

    def frontend_path(self, guest: Guest) -> str:
        return paths.frontend(guest.domid, self.kind, self.devid)

    def frontend_access(self, guest: Guest) -> tuple[Permission, ...]:
        """The guest owns its end, the backend may read it."""
        return (Permission(guest.domid, "n"), Permission(self.backend_domid, "r"))

    def backend_path(self, guest: Guest) -> str:
        return paths.backend(self.backend_domid, self.backend_kind, guest.domid, self.devid)

    def backend_access(self, guest: Guest) -> tuple[Permission, ...]:
        return (Permission(self.backend_domid, "n"), Permission(guest.domid, "r"))


def nodes(device: Device, guest: Guest) -> tuple[Node, ...]:
    """Both ends, linked to each other: directories with their permissions first, then the keys."""
    front, back = device.frontend_path(guest), device.backend_path(guest)
    server = {"backend-uuid": device.backend_uuid} if device.names_server else {}
    front_keys = {"backend": back, "backend-id": str(device.backend_domid), **server}
    front_keys |= device.frontend_keys(guest)
    back_keys = {"frontend": front, "frontend-id": str(guest.domid), **device.backend_keys(guest)}
    return (
        Node(back, access=device.backend_access(guest)),
        *(Node(f"{back}/{key}", value) for key, value in back_keys.items()),
        Node(front, access=device.frontend_access(guest)),
        *(Node(f"{front}/{key}", value) for key, value in front_keys.items()),
    )
