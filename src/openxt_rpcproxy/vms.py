# SPDX-License-Identifier: GPL-2.0-or-later
"""What rules ask about the VM behind a conversation: properties from xenmgr, rules from dbd.

Cached until the VM's configuration changes.  An answer that does not come in time is "no such
property": not knowing never allows.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable

from openxt_api.db import DbClient
from openxt_bus.connection import Bus, Match, Signal
from openxt_core.errors import OpenxtError, RemoteError, Unavailable
from openxt_core.ids import DBD_NAME, XENMGR_NAME, Uuid, parse_uuid, vm_path
from openxt_core.signature import Variant
from openxt_rpcproxy.rules.decide import PropertyValue

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 5.0
MAX_VMS = 256
MAX_RULES = 1000
_UNRESTRICTED = f"{XENMGR_NAME}.vm.unrestricted"


class Vms:
    """Facts about VMs, read when a rule asks."""

    def __init__(self, bus: Bus, on_change: Callable[[Uuid], None]) -> None:
        self._bus = bus
        self._db = DbClient(bus, DBD_NAME, "/")
        self._on_change = on_change
        self.changes = 0  # of any VM
        self._known: OrderedDict[Uuid, dict[str, PropertyValue]] = OrderedDict()

    async def watch(self) -> None:
        """Forget a VM whenever xenmgr says that it changed, and all of them when xenmgr comes or goes."""
        await self._bus.watch_name(XENMGR_NAME, self._another_xenmgr)
        for member in ("vm_config_changed", "vm_state_changed", "vm_name_changed", "vm_deleted"):
            match = Match(interface=XENMGR_NAME, member=member, sender=XENMGR_NAME)
            await self._bus.subscribe(match, self._changed)

    def _changed(self, signal: Signal) -> None:
        try:
            uuid = parse_uuid(str(signal.body[0]))
        except (OpenxtError, IndexError):
            return
        self.changes += 1
        self._known.pop(uuid, None)
        self._on_change(uuid)

    def _another_xenmgr(self, _old: str, _new: str) -> None:
        """What could not be read while there was none can be read now."""
        self.changes += 1
        self._known.clear()

    def known(self, uuid: Uuid | None) -> dict[str, PropertyValue]:
        return self._known.get(uuid, {}) if uuid else {}

    async def learn(self, uuid: Uuid, name: str) -> None:
        """Read one property; `known` has it afterwards, as None when it cannot be read.

        What was read while the VM changed is not kept: ask again.
        """
        changes = self.changes
        value = await self._read(uuid, name)
        if changes != self.changes:
            return
        self._known.setdefault(uuid, {})[name] = value
        self._known.move_to_end(uuid)
        if len(self._known) > MAX_VMS:
            self._known.popitem(last=False)

    async def _read(self, uuid: Uuid, name: str) -> PropertyValue:
        try:
            (answer,) = await self._bus.call(
                XENMGR_NAME,
                vm_path(uuid),
                "org.freedesktop.DBus.Properties",
                "Get",
                "ss",
                (_UNRESTRICTED, name),
                timeout_s=READ_TIMEOUT_S,
            )
        except (RemoteError, Unavailable) as error:
            log.warning("property %s of VM %s cannot be read: %s", name, uuid, error)
            return None
        value = answer.value if isinstance(answer, Variant) else answer
        return value if isinstance(value, str | bool) else None

    async def rules(self, uuid: Uuid) -> list[str]:
        """The VM's own rules, in stored order.  Raises OpenxtError."""
        base = f"/vm/{uuid}/rpc-firewall-rules"
        names = (await self._db.list(base))[:MAX_RULES]
        return [await self._db.read(f"{base}/{name}") for name in names]
