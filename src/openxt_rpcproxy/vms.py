# SPDX-License-Identifier: GPL-2.0-or-later
"""What rules ask about the VM behind a conversation: properties from xenmgr, rules from dbd.

Cached until the VM's configuration changes.  An answer that does not come in time is "no such
property" for a while: not knowing never allows.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict

from openxt_api.db import DbClient
from openxt_api.db_watch import DB_WATCH
from openxt_bus.connection import Bus, Match, Signal
from openxt_core.errors import OpenxtError, RemoteError, Unavailable
from openxt_core.ids import DBD_NAME, XENMGR_NAME, Uuid, parse_uuid, vm_path
from openxt_core.signature import Variant
from openxt_rpcproxy.rules.decide import PropertyValue
from openxt_rpcproxy.rules.sources import RuleSources

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 5.0
MAX_VMS = 256
MAX_RULES = 1000
RETRY_S = 10.0
STOPPED = frozenset({"stopped", "locked"})  # the states of a VM that does not run, as xenmgr tells them
RULES_NODE = "rpc-firewall-rules"
_UNRESTRICTED = f"{XENMGR_NAME}.vm.unrestricted"


class Vms:
    """Facts about VMs, read when a rule asks."""

    def __init__(self, bus: Bus, sources: RuleSources) -> None:
        """`sources` is told when the rules of a VM may have changed."""
        self._bus = bus
        self._db = DbClient(bus, DBD_NAME, "/")
        self._sources = sources
        self._checking: asyncio.Task[None] | None = None
        self._epoch = sources.epoch
        self._known: OrderedDict[Uuid, dict[str, PropertyValue]] = OrderedDict()

    async def watch(self) -> None:
        """Forget a VM whenever xenmgr says that it changed, and all of them when xenmgr comes or goes.

        Rules that somebody writes into the database by hand are heard of from dbd.
        """
        await self._bus.watch_name(XENMGR_NAME, self._another_xenmgr)
        await self._bus.watch_name(DBD_NAME, self._another_database)
        for member in ("vm_config_changed", "vm_state_changed", "vm_name_changed", "vm_deleted"):
            match = Match(interface=XENMGR_NAME, member=member, sender=XENMGR_NAME)
            await self._bus.subscribe(match, self._changed)
        edits = Match(interface=DB_WATCH.name, member="changed", sender=DBD_NAME, arg0path="/vm/")
        await self._bus.subscribe(edits, self._edited)

    def _changed(self, signal: Signal) -> None:
        try:
            uuid = parse_uuid(str(signal.body[0]))
        except (OpenxtError, IndexError):
            return
        self._forget(uuid)
        if signal.member == "vm_deleted" or STOPPED.intersection(map(str, signal.body[2:3])):
            self._sources.vm_stopped(uuid)
        else:
            self._sources.forget_vm(uuid)

    def _forget(self, uuid: Uuid) -> None:
        self._epoch.end()
        self._known.pop(uuid, None)

    def _edited(self, signal: Signal) -> None:
        """A path with a slash at the end stands for what is below as well."""
        words = str(signal.body[0]).rstrip("/").split("/")[2:] if signal.body else []
        if not words:
            self._epoch.end()
            self._known.clear()
            self._sources.forget_vms()
            return
        with contextlib.suppress(OpenxtError):  # no VM has that name
            uuid = parse_uuid(words[0])
            self._forget(uuid)  # xenmgr tells as well, but half a second later
            if len(words) == 1 or words[1] == RULES_NODE:
                self._sources.forget_vm(uuid)

    def _another_database(self, _old: str, new: str) -> None:
        if new:
            self._sources.database_is_back()

    def _another_xenmgr(self, _old: str, new: str) -> None:
        """What could not be read while there was none can be read now."""
        self._epoch.end()
        self._known.clear()
        if new:
            self._checking = asyncio.get_running_loop().create_task(self._end_rules_of_stopped())

    async def _end_rules_of_stopped(self) -> None:
        """Nobody told of VMs that stopped while there was no xenmgr."""
        for uuid in self._sources.vms_with_added_rules():
            if await self._read(uuid, "state") in STOPPED:
                self._sources.vm_stopped(uuid)

    def known(self, uuid: Uuid | None) -> dict[str, PropertyValue]:
        return self._known.get(uuid, {}) if uuid else {}

    async def learn(self, uuid: Uuid, name: str) -> None:
        """Read one property; `known` has it afterwards, as None when it cannot be read.

        What was read while the VM changed is not kept: ask again.
        """
        epoch = self._epoch.number
        value = await self._read(uuid, name)
        if epoch != self._epoch.number:
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
            if isinstance(error, Unavailable):  # nobody will tell when it can be read
                asyncio.get_running_loop().call_later(RETRY_S, self._forget, uuid)
            return None
        value = answer.value if isinstance(answer, Variant) else answer
        return value if isinstance(value, str | bool) else None

    async def rules(self, uuid: Uuid) -> list[str]:
        """The VM's own rules, in stored order.  Raises OpenxtError."""
        base = f"/vm/{uuid}/{RULES_NODE}"
        names = (await self._db.list(base))[:MAX_RULES]
        return [await self._db.read(f"{base}/{name}") for name in names]
