# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM's monitor process xenvm: write its file, start it, follow it, turn its words into events.

Only the process that owns the VM's bus name is listened to.  What becomes of a VM whose monitor died is
for `recovery` to say.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from openxt_api.xenvm_notify import XENVM_SIGNAL_NOTIFY
from openxt_bus.connection import Match, Signal, Subscription
from openxt_core.errors import BadRequest, IoError, Unavailable
from openxt_core.ids import parse_uuid, xenvm_name
from openxt_xenmgr.links.xenvm import XenvmClient
from openxt_xenmgr.links.zygote import spawn_monitor
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.events import parse_notification
from openxt_xenmgr.vm.queue import EventQueue
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

UP_TIMEOUT_S = 30.0
GONE_TIMEOUT_S = 10.0


class Monitors:
    """The monitors of all VMs.  `on_lost` is called when one goes away; set it before `follow`."""

    on_lost: Callable[[Vm], None]
    on_found: Callable[[Vm], None]

    def __init__(self, world: World, queue: EventQueue) -> None:
        self._world = world
        self._queue = queue
        self._watches: dict[str, Subscription] = {}
        self._changed = asyncio.Condition()

    def client(self, vm: Vm) -> XenvmClient:
        return XenvmClient(self._world.bus, vm.uuid)

    async def follow(self) -> None:
        """Listen to the monitors from now on."""
        match = Match(XENVM_SIGNAL_NOTIFY.name, "notify")
        await self._world.bus.subscribe(match, self._notified)

    def _notified(self, signal: Signal) -> None:
        match signal.body:
            case [str(uuid_text), int(), str(text)]:
                pass
            case _:
                return
        try:
            vm = self._world.registry.find(parse_uuid(uuid_text))
        except BadRequest:
            return
        if vm is None:
            return
        if vm.uuid not in self._watches:
            self.on_found(vm)
        elif signal.sender == vm.monitor:
            event = parse_notification(text)
            if event is not None:
                self._queue.post(vm, event)

    # Is it there

    async def attach(self, vm: Vm) -> bool:
        """Follow the VM's bus name; True when its monitor is there."""
        if vm.uuid not in self._watches:
            async with vm.finding:  # whoever comes second waits until the first knows
                if vm.uuid not in self._watches:
                    self._watches[vm.uuid], vm.monitor = await self._world.bus.follow_name(
                        xenvm_name(vm.uuid), lambda _, new: self._owner_changed(vm, new)
                    )
        return vm.has_monitor

    def _owner_changed(self, vm: Vm, new: str) -> None:
        lost = vm.has_monitor and not new
        vm.monitor = new
        vm.recheck()
        self._world.background.spawn("monitor watch", self._tell())
        if lost:
            vm.abandon(Unavailable(f"the monitor of VM {vm.uuid} died"))
            self.on_lost(vm)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, there: Callable[[], bool], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(there)

    # Start and end it

    async def bring_up(self, vm: Vm, lines: Sequence[str]) -> bool:
        """Have a monitor that knows this configuration; True when it was started for that.

        Raises IoError when the file cannot be written, Unavailable when no monitor comes up.
        """
        write_config(self.config_file(vm), lines)
        if await self.attach(vm):
            await self.client(vm).read_config()
            return False
        await self.spawn(vm)
        return True

    async def spawn(self, vm: Vm) -> None:
        """Start the monitor from the file that is there; returns when it is on the bus.

        Raises Unavailable.
        """
        await self.attach(vm)
        socket = self._world.places.zygote_socket
        await spawn_monitor(socket, self.config_file(vm), vm.uuid)
        try:
            await self._until(lambda: vm.has_monitor, UP_TIMEOUT_S)
        except TimeoutError as late:
            raise Unavailable(
                f"the monitor of VM {vm.uuid} was started, but is not on the bus after {UP_TIMEOUT_S:g} s"
            ) from late

    async def retire(self, vm: Vm) -> None:
        """End the monitor and leave nothing of it: no process, no file."""
        if await self.attach(vm):
            await self.client(vm).quit()
            with contextlib.suppress(TimeoutError):
                await self._until(lambda: not vm.has_monitor, GONE_TIMEOUT_S)
        self.config_file(vm).unlink(missing_ok=True)

    async def forget(self, vm: Vm) -> None:
        """Follow the VM's bus name no longer."""
        watch = self._watches.pop(vm.uuid, None)
        if watch is not None:
            await watch.close()

    def config_file(self, vm: Vm) -> Path:
        return self._world.places.xenvm_config(vm.uuid)


def write_config(path: Path, lines: Sequence[str]) -> None:
    """Replace the file at once: a reader sees the old or the new one.  Raises IoError (223)."""
    fresh = path.with_name(f"{path.name}.new")
    content = "".join(f"{line}\n" for line in lines)
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise IoError(f"IO error: {path}: {error.strerror}") from error
