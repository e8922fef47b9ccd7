# SPDX-License-Identifier: GPL-2.0-or-later
"""How a guest is asked to end or to suspend, and how it goes on when that came to nothing.

Decides nothing: who calls holds the VM's lock and moves its state.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from openxt_core.ids import Domid
from openxt_xen.hypervisor import POWER_BUTTON, HvmParam, Kind, ShutdownReason, XenError
from openxt_xen.xenstore import paths
from openxt_xenvm import executor
from openxt_xenvm.errors import VmNotListening
from openxt_xenvm.events import DomainWatch
from openxt_xenvm.fate import Fate
from openxt_xenvm.site import Host

log = logging.getLogger(__name__)

REQUESTS = {
    ShutdownReason.POWEROFF: "poweroff",
    ShutdownReason.REBOOT: "reboot",
    ShutdownReason.SUSPEND: "suspend",
}
"""Words in control/shutdown.  Source: Linux, drivers/xen/manage.c."""


@dataclass
class Asking:
    host: Host
    watch: DomainWatch

    async def end(self, domid: Domid, kind: Kind, reason: ShutdownReason) -> None:
        """Until the guest has taken the request, or has ended.  Raises VmNotListening.

        A full machine without drivers for Xen finds its power button pressed.  One that does not look at that
        either (in its BIOS, a boot loader, asleep) is stopped at once.
        """
        if kind is not Kind.HVM or await self.is_listening(domid):
            await self.ask(domid, reason)
        elif not await self._press_power_button(domid):
            log.info("domain %s hears nothing: it is stopped", domid)
            await self.host.xen(self.host.hypervisor.shutdown, domid, reason)

    async def _press_power_button(self, domid: Domid) -> bool:
        """True once the guest has noticed, or has ended.  It powers off, whatever it was to do."""
        hypervisor, settings = self.host.hypervisor, self.host.settings
        button = await self.host.xen(hypervisor.power_button, domid)
        if not button.is_heard or await self._param(domid, HvmParam.ACPI_S_STATE):
            return False
        await self.host.xen(hypervisor.send_trigger, domid, POWER_BUTTON)
        log.debug("the guest's power button is pressed")
        try:
            async with asyncio.timeout(settings.acknowledge_s):
                while not await self._has_noticed(domid):  # noqa: ASYNC110 - Xen has no event for it
                    await asyncio.sleep(settings.acpi_poll_s)
        except TimeoutError:
            return False
        return True

    async def _has_noticed(self, domid: Domid) -> bool:
        """Its kernel takes a press back when it has heard of it."""
        if await self.watch.check() is not None:
            return True
        return not (await self.host.xen(self.host.hypervisor.power_button, domid)).is_pressed

    async def ask(self, domid: Domid, reason: ShutdownReason) -> None:
        """Until the guest has taken the request, or has ended.  Raises VmNotListening; withdrawn then."""
        await self.ask_word(domid, REQUESTS[reason])

    async def ask_word(self, domid: Domid, word: str) -> None:
        request = paths.shutdown_request(domid)
        await self.host.store.write(request, word)
        log.debug("the guest is asked: %s", word)
        try:
            heard = await self._acknowledged(request)
        except BaseException:
            await executor.uninterrupted(self._withdraw(request, word))
            raise
        if not heard and await self.watch.check() is None:
            await self._withdraw(request, word)
            raise VmNotListening

    async def _acknowledged(self, request: str) -> bool:
        """The guest takes the request away.  Also true when the domain ends meanwhile."""
        limit_s = self.host.settings.acknowledge_s
        heard = asyncio.ensure_future(self.host.store.wait_until(request, lambda value: not value, limit_s))
        waiting: list[asyncio.Future[Any]] = [heard, self.watch.fate]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            heard.cancel()
            await asyncio.wait([heard])
        if self.watch.fate.done():
            return True
        try:
            heard.result()
        except TimeoutError:
            return False
        return True

    async def _withdraw(self, request: str, word: str) -> None:
        """A guest that wakes up later must not obey a request whose caller was told that it failed."""
        if await self.host.store.read(request) == word:
            await self.host.store.write(request, "")

    async def is_listening(self, domid: Domid) -> bool:
        """HVM and PVH: whether the guest has drivers for Xen, and so can hear a request."""
        try:
            return await self._param(domid, HvmParam.CALLBACK_IRQ) != 0
        except XenError:
            return False

    async def _param(self, domid: Domid, param: HvmParam) -> int:
        return await self.host.xen(self.host.hypervisor.get_hvm_param, domid, param)

    async def suspend(self, domid: Domid, kind: Kind) -> bool:
        """True once it is suspended; False when it ended otherwise.  Raises VmNotListening, TimeoutError.

        An HVM guest without drivers for Xen, or asleep, is stopped without being asked.
        """
        if kind is Kind.HVM and not await self._is_awake_and_listens(domid):
            await self.host.xen(self.host.hypervisor.shutdown, domid, ShutdownReason.SUSPEND)
        else:
            await self.ask(domid, ShutdownReason.SUSPEND)
        async with asyncio.timeout(self.host.settings.suspend_s):
            await self.watch.check()
            return await asyncio.shield(self.watch.fate) is Fate.SUSPENDED

    async def _is_awake_and_listens(self, domid: Domid) -> bool:
        return await self._param(domid, HvmParam.ACPI_S_STATE) == 0 and await self.is_listening(domid)

    async def go_on(self, domid: Domid) -> bool:
        """The guest runs on in the domain in which it was suspended, or was about to be.

        True if it had to be resumed: then its end must be followed anew.
        """
        word = REQUESTS[ShutdownReason.SUSPEND]
        request = paths.shutdown_request(domid)
        await self._withdraw(request, word)
        info = await self.host.xen(self.host.hypervisor.info, domid)
        if info is None or info.shutdown is not ShutdownReason.SUSPEND:
            return False
        await self.host.xen(self.host.hypervisor.resume, domid, fast=True)
        log.debug("the guest is resumed")
        await self.host.store.resume(domid)
        return True
