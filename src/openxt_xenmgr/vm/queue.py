# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of each VM, taken one after another in the order they came; VMs do not wait for each other."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from openxt_xenmgr.registry import Vm
from openxt_xenmgr.tasks import Background
from openxt_xenmgr.vm.events import Event

log = logging.getLogger(__name__)

React = Callable[[Vm, Event], Awaitable[None]]


class EventQueue:
    """Calls `react` for each event; set it before the first one comes.

    A reaction must not wait for `inject` or `settled` of its own VM: that is what comes after it.
    """

    react: React

    def __init__(self, background: Background) -> None:
        self._background = background

    def post(self, vm: Vm, event: Event, done: "asyncio.Future[None] | None" = None) -> None:
        vm.events.append((event, done))
        if not vm.is_draining:
            vm.is_draining = True
            self._background.spawn(f"events of VM {vm.uuid}", self._drain(vm))

    async def inject(self, vm: Vm, event: Event) -> None:
        """Post an event of our own; returns when it was fully reacted to."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.post(vm, event, done)
        await done

    async def settled(self, vm: Vm) -> None:
        """Returns when everything posted so far was fully reacted to."""
        if vm.is_draining:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            vm.settling.append(done)
            await done

    async def _drain(self, vm: Vm) -> None:
        try:
            while vm.events:
                event, done = vm.events.popleft()
                try:
                    await self.react(vm, event)
                finally:
                    if done is not None and not done.done():
                        done.set_result(None)
        finally:
            vm.is_draining = False
            for waiting in vm.settling:
                if not waiting.done():
                    waiting.set_result(None)
            vm.settling.clear()
