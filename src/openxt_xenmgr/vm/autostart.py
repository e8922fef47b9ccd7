# SPDX-License-Identifier: GPL-2.0-or-later
"""Start VMs by themselves, once a boot: the queue, in the database, and who empties it.

A restarted xenmgr goes on where the old one stopped; what a user stopped meanwhile stays stopped.  VMs that
wait for a login, or for the end of an installation, stay in the queue until the next login.
"""

import asyncio
import logging
from dataclasses import dataclass, field

from openxt_bus.connection import Match, Signal
from openxt_core.errors import BadRequest, OpenxtError
from openxt_core.ids import Uuid, parse_uuid
from openxt_xenmgr.host.installation import is_complete
from openxt_xenmgr.links.input import NAME as INPUT
from openxt_xenmgr.links.nodes import AUTOSTARTED
from openxt_xenmgr.properties.config import setting
from openxt_xenmgr.properties.vm import HDX
from openxt_xenmgr.properties.vm_live import is_locked
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.boot_order import boot_order
from openxt_xenmgr.vm.focus import Focus
from openxt_xenmgr.vm.lifecycle import Lifecycle
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.tree import items
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

PENDING_KEY = "/xenmgr/autostart-pending-vms"
HIBERNATED_KEY = "/platform/hibernated"


@dataclass(frozen=True)
class Autostart:
    world: World
    life: Lifecycle
    focus: Focus
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def forget(self) -> None:
        """Start nothing: no queue is left."""
        await self.world.db.rm(PENDING_KEY)

    async def prepare(self) -> None:
        """Fill the queue at the first start of a boot, else take it up where it was left."""
        if await self.world.nodes.xs.read(AUTOSTARTED) is None:
            await self._fill()
            await self.world.nodes.xs.write(AUTOSTARTED, "1")
            await self.world.db.rm(HIBERNATED_KEY)
        else:
            self.world.registry.autostart_pending = await self._stored_queue()

    async def _fill(self) -> None:
        was_hibernated = await self.world.db.read(HIBERNATED_KEY) == "true"
        running = frozenset([vm.uuid for vm in self.world.registry if vm.domid is not None])
        wanted = []
        if await setting(self.world, "autostart"):
            wanted = boot_order(await self._configs(), was_hibernated=was_hibernated, running=running)
        await self._keep(wanted)

    async def _configs(self) -> list[VmConfig]:
        """Of all VMs but those that cannot be read."""
        found = []
        for vm in self.world.registry:
            try:
                found.append(await self.world.store.config(vm))
            except OpenxtError as error:
                log.error("VM %s is not started by itself: %s", vm.uuid, error)
        return found

    async def _stored_queue(self) -> list[Uuid]:
        stored = await self.world.db.dump(PENDING_KEY)
        names = items({"it": stored}, "it") if isinstance(stored, dict) else ()
        found = []
        for name in names:
            try:
                found.append(parse_uuid(name))
            except BadRequest:
                log.warning("%s holds %.60r, which is no uuid", PENDING_KEY, name)
        return [uuid for uuid in found if self.world.registry.find(uuid) is not None]

    async def _keep(self, queue: list[Uuid]) -> None:
        self.world.registry.autostart_pending = queue
        if queue:
            await self.world.db.inject(PENDING_KEY, {str(at): uuid for at, uuid in enumerate(queue)})
        else:
            await self.world.db.rm(PENDING_KEY)

    async def begin(self) -> None:
        """Empty the queue now, and again after each login.  Runs in the background."""
        await self.world.bus.subscribe(Match(INPUT, "auth_status", sender=INPUT), self._logged_in)
        await self.deplete()

    def _logged_in(self, _signal: Signal) -> None:
        if self.world.registry.autostart_pending:
            self.world.background.spawn("autostart after a login", self.deplete())

    async def deplete(self) -> None:
        """Start every VM of the queue that may start now, one after another."""
        async with self.turn:
            due = [vm for vm in await self._pending() if await self._may_start(vm)]
            if not due:
                return
            shown = await self.focus.take_remembered()
            is_switched = False
            for vm in due:
                is_switched = await self._start(vm, shown, is_switched) or is_switched
            if not is_switched:
                await self._show_any(due)

    async def _pending(self) -> list[Vm]:
        found = map(self.world.registry.find, tuple(self.world.registry.autostart_pending))
        return [vm for vm in found if vm is not None and not vm.is_missing]

    async def _may_start(self, vm: Vm) -> bool:
        """Service VMs do not wait for the installation: the user interface that ends it is one of them."""
        config = await self.world.store.config(vm)
        return not is_locked(config) and (not config.is_user_vm or is_complete(self.world.places))

    async def _start(self, vm: Vm, shown: Uuid | None, is_switched: bool) -> bool:
        """Start one; True when it was brought to the screen."""
        config = await self.world.store.config(vm)
        was_running = vm.domid is not None
        log.info("autostart of VM %s (%s)", vm.uuid, config.name)
        try:
            await self.life.start(vm)
        except OpenxtError as error:
            log.error("autostart of VM %s failed: %s", vm.uuid, error.text)
        queue = self.world.registry.autostart_pending
        await self._keep([uuid for uuid in queue if uuid != vm.uuid])
        switched = False
        if not is_switched and config.is_user_vm and shown in (None, vm.uuid):
            switched = await self.focus.switch(vm)
        if not was_running:
            await asyncio.sleep(await self._delay_s(config))
        return switched

    async def _show_any(self, started: list[Vm]) -> None:
        for vm in started:
            if (await self.world.store.config(vm)).is_user_vm and await self.focus.switch(vm):
                return

    async def _delay_s(self, config: VmConfig) -> int:
        kind = "pvm" if config["gpu"] == HDX else "svm"
        return int(await setting(self.world, f"{kind}-autostart-delay"))
