# SPDX-License-Identifier: GPL-2.0-or-later
"""ACPI sleep of a guest: S3 keeps its memory, S4 is a shutdown after which it goes on from its own disk.

Only guests with drivers for Xen can be asked; those of full machines can sleep by themselves, too.  Xen tells
of the state when it is asked, not by itself.
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
    _known: int | None = None  # the state that was told last; None: what is found first is no news
    _noted: str | None = None  # what the node held then
    _poll: asyncio.Task[None] | None = None

    async def acpi_state(self, domid: Domid) -> int:
        return await self.life.host.xen(self.life.host.hypervisor.get_hvm_param, domid, HvmParam.ACPI_S_STATE)

    async def s3(self, timeout_s: float) -> None:
        """Returns once the guest sleeps.  Raises TaskRefused."""
        self._known = AWAKE if self._known is None else self._known
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
        await self._is_now(domid, ASLEEP)
        self._look_on(domid)

    async def wake(self, domid: Domid) -> None:
        """Its waking is told even if it was asleep for a moment only."""
        await self._is_now(domid, await self.acpi_state(domid))
        await self.life.host.xen(self.life.host.hypervisor.set_hvm_param, domid, HvmParam.ACPI_S_STATE, AWAKE)

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
        """Unless a device model has noted it in XenStore: then its note is told.

        An old note is none: one that tells of each sleep need not tell of each waking.
        """
        before, self._noted = self._noted, await self.life.host.store.read(f"{paths.domain(domid)}/{NODE}")
        if self._noted != str(state) or self._noted == before:
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

    # What a guest does by itself

    def follow(self) -> None:
        """To be called whenever the VM's state has changed."""
        vm = self.life.vm
        if vm.state is VmState.CREATED:
            self._known, self._noted = AWAKE, None
        if vm.state is not VmState.RUNNING:
            self.forget()
        elif vm.domid is not None and (vm.active.kind is Kind.HVM or self._known == ASLEEP):
            self._look_on(vm.domid)

    def _look_on(self, domid: Domid) -> None:
        if self._poll is None or self._poll.done():
            self._poll = asyncio.create_task(self._look_again_and_again(domid))

    async def _look_again_and_again(self, domid: Domid) -> None:
        """As long as it may sleep or wake.  Costs one hypercall each time."""
        can_sleep_by_itself = self.life.vm.active.kind is Kind.HVM
        while can_sleep_by_itself or self._known == ASLEEP:
            try:
                await self._is_now(domid, await self.acpi_state(domid))
            except Unavailable as error:
                log.debug("domain %s is not asked: %s", domid, error)
            await asyncio.sleep(self.life.host.settings.acpi_poll_s)  # Xen has no event for it

    async def _is_now(self, domid: Domid, state: int) -> None:
        before, self._known = self._known, state
        if before not in (None, state):
            await self._tell(domid, state)

    def forget(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None

    async def adopt(self, domid: Domid) -> None:
        """A guest that an earlier monitor put to sleep is awaited too."""
        if self.life.vm.active.kind is not Kind.PVH:
            return
        try:
            self._known = await self.acpi_state(domid)
        except XenError as error:
            log.debug("domain %s has no ACPI state: %s", domid, error)
        self.follow()
