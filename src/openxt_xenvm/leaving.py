# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks and network cards that a guest was asked for in vain: what becomes of each when it lets go after all.

One that was refused to `disk-del` or `nic-del` is gone then; its backend's `online` is 0, so that the next
monitor of the VM goes on waiting.  One whose removal was called off, or a drive that was to have another
disc, comes back as it was, should the guest let it go although it was asked no more.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from openxt_core.errors import Unavailable
from openxt_core.ids import Domid
from openxt_xen.xenstore import paths
from openxt_xenvm.lifecycle import Lifecycle
from openxt_xenvm.plan.closing import CLOSED, Plugged
from openxt_xenvm.record import Operation
from openxt_xenvm.state import ALIVE

log = logging.getLogger(__name__)

InTurn = Callable[[str, Callable[[], Awaitable[None]]], object]
"""Runs a job of the monitor's own, once nothing else is under way."""


@dataclass
class Leaving:
    life: Lifecycle
    settle: Callable[[Operation, Plugged], Awaitable[None]]
    in_turn: InTurn = lambda *_: None
    _waits: dict[Plugged, asyncio.Task[None]] = field(default_factory=dict)

    async def adopt(self, devices: Iterable[Plugged]) -> None:
        """Wait for those that an earlier monitor asked for."""
        domid = self.life.vm.domid
        for device in devices:
            if domid is not None and await self._was_asked(device, domid):
                self.wait(device, is_going=True)

    async def _was_asked(self, device: Plugged, domid: Domid) -> bool:
        return await self.life.host.store.read(f"{_back(device, domid)}/online") == "0"

    def wait(self, device: Plugged, *, is_going: bool) -> None:
        """Until the guest lets it go: then it goes, or comes back."""
        self.forget(device)
        _, kind, devid = device
        operation = Operation("unplug" if is_going else "replace", kind=kind, devid=devid)
        if (domid := self.life.vm.domid) is not None:
            self._waits[device] = asyncio.create_task(self._until_let_go(device, domid, operation))

    async def _until_let_go(self, device: Plugged, domid: Domid, operation: Operation) -> None:
        try:
            state = await self.life.host.store.wait_until(
                paths.state(_back(device, domid)), lambda state: state in (None, CLOSED), math.inf
            )
        except Unavailable as error:
            log.debug("nobody waits for %s any more: %s", device, error)
            return
        if state is not None:
            self.in_turn("let-go", lambda: self._let_go(device, domid, operation))

    async def _let_go(self, device: Plugged, domid: Domid, operation: Operation) -> None:
        """Whatever came before may have changed everything."""
        vm = self.life.vm
        if vm.domid != domid or vm.state not in ALIVE:
            return
        if await self.life.host.store.read(paths.state(_back(device, domid))) != CLOSED:
            return
        log.info("the guest let go %s %d", operation.kind, operation.devid)
        vm.begin(operation)
        try:
            await self.settle(operation, device)
        finally:
            vm.end()

    def forget(self, *devices: Plugged) -> None:
        for device in devices or tuple(self._waits):
            if (wait := self._waits.pop(device, None)) is not None:
                wait.cancel()


def _back(device: Plugged, domid: Domid) -> str:
    backend, kind, devid = device
    return paths.backend(backend, kind, domid, devid)
