# SPDX-License-Identifier: GPL-2.0-or-later
"""ACPI sleep of a guest: S3 keeps its memory, S4 is a shutdown after which it goes on from its own disk.

Only guests with drivers for Xen can be asked.  Xen tells of the state when it is asked, not by itself.
"""

import asyncio
import logging
from dataclasses import dataclass

from openxt_core.errors import Unavailable
from openxt_core.ids import Domid
from openxt_xen.hypervisor import HvmParam, Kind, XenError
from openxt_xen.xenstore import paths
from openxt_xenvm.errors import TaskRefused, VmNotListening
from openxt_xenvm.fate import Fate
from openxt_xenvm.lifecycle import Lifecycle
from openxt_xenvm.notify import node_changed
from openxt_xenvm.state import VmState

log = logging.getLogger(__name__)

AWAKE, ASLEEP, HIBERNATED = 0, 3, 4
NODE = "power-state"
REFUSED = "failed to put domain into {}"


@dataclass
class Sleeping:
    life: Lifecycle
    _waking: asyncio.Task[None] | None = None

    async def acpi_state(self, domid: Domid) -> int:
        return await self.life.host.xen(self.life.host.hypervisor.get_hvm_param, domid, HvmParam.ACPI_S_STATE)

    async def s3(self, timeout_s: float) -> None:
        """Returns once the guest sleeps.  Raises TaskRefused."""
        domid = await self._asked("s3", "s3")
        try:
            async with asyncio.timeout(timeout_s):
                while (state := await self.acpi_state(domid)) == AWAKE:
                    if self.life.watch.fate.done():
                        raise TaskRefused(REFUSED.format("s3"))
                    await asyncio.sleep(self.life.host.settings.acpi_poll_s)
        except (TimeoutError, XenError):
            raise TaskRefused(REFUSED.format("s3")) from None
        if state != ASLEEP:
            raise TaskRefused(REFUSED.format("s3"))
        await self._tell(domid, ASLEEP)
        self.await_waking(domid)

    async def s4(self, timeout_s: float) -> Fate:
        """How the domain ended; what follows is the caller's.  Raises TaskRefused."""
        domid = await self._asked("s4", "hibernate")
        try:
            async with asyncio.timeout(timeout_s):
                fate = await asyncio.shield(self.life.watch.fate)
        except TimeoutError:
            raise TaskRefused(REFUSED.format("s4")) from None
        if fate is Fate.HALTED:
            await self._tell(domid, HIBERNATED)
        return fate

    async def _tell(self, domid: Domid, state: int) -> None:
        """Unless a device model has noted it in XenStore: then its note is told."""
        noted = await self.life.host.store.read(f"{paths.domain(domid)}/{NODE}")
        if noted != str(state):
            self.life.vm.tell(node_changed(NODE, str(state)))

    async def _asked(self, name: str, word: str) -> Domid:
        vm, asking = self.life.vm, self.life.asking
        if vm.domid is None or vm.state is not VmState.RUNNING:
            raise TaskRefused(f"{REFUSED.format(name)}: it is {vm.state}")
        if vm.active.kind is Kind.PV or not await asking.is_listening(vm.domid):
            raise TaskRefused(f"{REFUSED.format(name)}: it has no drivers that could be asked")
        try:
            await asking.ask_word(vm.domid, word)
        except VmNotListening:
            raise TaskRefused(REFUSED.format(name)) from None
        return vm.domid

    def await_waking(self, domid: Domid) -> None:
        """Tell when the guest, which sleeps, is awake again."""
        self.forget()
        self._waking = asyncio.create_task(self._tell_waking(domid))

    async def _tell_waking(self, domid: Domid) -> None:
        try:
            while await self.acpi_state(domid) == ASLEEP:  # noqa: ASYNC110 - Xen has no event for it
                await asyncio.sleep(self.life.host.settings.acpi_poll_s)
        except Unavailable as error:
            log.debug("domain %s is not asked any more: %s", domid, error)
            return
        self.life.vm.tell(node_changed(NODE, str(AWAKE)))

    def forget(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None

    async def adopt(self, domid: Domid) -> None:
        """A guest that an earlier monitor put to sleep is awaited too."""
        if self.life.vm.active.kind is Kind.PV:
            return
        try:
            if await self.acpi_state(domid) == ASLEEP:
                self.await_waking(domid)
        except XenError as error:
            log.debug("domain %s has no ACPI state: %s", domid, error)
