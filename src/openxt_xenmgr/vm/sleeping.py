# SPDX-License-Identifier: GPL-2.0-or-later
"""Put one VM to sleep and wake it, hibernate it, save it to a file and bring it back.

Source of the waits and the order (agent first, then xenvm): OpenXT xenmgr, 2015.
"""

import asyncio
import logging
from dataclasses import dataclass

from openxt_core.errors import (
    ActionRequiresPvAddons,
    BadRequest,
    HibernateTimeout,
    OpenxtError,
    ResumeFromSleep,
    SleepTimeout,
    VmBadState,
)
from openxt_xenmgr.properties.table import Change
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.launch import gather_facts
from openxt_xenmgr.vm.lifecycle import Lifecycle
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.states import ACPI_S0, ACPI_S3, AT_REST, State
from openxt_xenmgr.vm.xenvm_config import config_lines
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

WAKE_TIMEOUT_S = 10.0
POLL_S = 0.2


@dataclass(frozen=True)
class Sleeper:
    world: World
    life: Lifecycle

    async def sleep(self, vm: Vm) -> None:
        """Have the guest sleep (S3).

        Raises VmBadState (102), ActionRequiresPvAddons (213), SleepTimeout (227).
        """
        xenvm = await self.life.need_running(vm)
        if await self._acpi(vm) == ACPI_S3:
            return
        if await self.life.ask_agent(vm, "request_sleep"):
            if not await self._comes_to(vm, ACPI_S3, self.world.deadlines.agent_s):
                raise SleepTimeout(f"VM {vm.uuid} does not sleep, though its agent was asked")
            return
        await self._need_addons(vm)
        try:
            await xenvm.sleep()
        except OpenxtError as error:
            raise SleepTimeout(f"VM {vm.uuid} did not go to sleep: {error}") from error

    async def hibernate(self, vm: Vm) -> None:
        """Have the guest write itself to its disk and end (S4); nothing happens to one that does not run.

        Raises ActionRequiresPvAddons (213), HibernateTimeout (228).
        """
        if not await self.life.surviving(vm, self.life.is_running):
            return
        xenvm = await self.life.need_running(vm)
        if await self._acpi(vm) == ACPI_S3:
            await self.resume(vm)
        if await self.life.ask_agent(vm, "request_hibernate"):
            await self._ends(vm)
        else:
            await self._need_addons(vm)
            try:
                await xenvm.hibernate()
            except OpenxtError as error:
                raise HibernateTimeout(f"VM {vm.uuid} did not hibernate: {error}") from error
        await self.life.queue.settled(vm)
        await self.world.store.change(vm, (Change("hibernated", "true"),), quiet=True)

    async def _ends(self, vm: Vm) -> None:
        try:
            await vm.until(lambda state: state in AT_REST, self.world.deadlines.agent_s, "its end")
        except OpenxtError as error:
            raise HibernateTimeout(f"VM {vm.uuid} did not hibernate: {error}") from error

    async def resume(self, vm: Vm) -> bool:
        """Wake a sleeping guest; whether it was awake in time."""
        if not vm.has_monitor or await self._acpi(vm) != ACPI_S3:
            return True
        await self.life.wake(vm)
        return await self._comes_to(vm, ACPI_S0, WAKE_TIMEOUT_S)

    async def need_awake(self, vm: Vm) -> None:
        """Wake a guest that sleeps.  Raises ResumeFromSleep (224)."""
        try:
            is_awake = await self.resume(vm)
        except OpenxtError as error:
            raise ResumeFromSleep(f"VM {vm.uuid} did not wake up: {error}") from error
        if not is_awake:
            raise ResumeFromSleep(f"VM {vm.uuid} did not wake up within {WAKE_TIMEOUT_S:g} s")

    async def is_asleep(self, vm: Vm) -> bool:
        return await self._acpi(vm) == ACPI_S3

    async def _acpi(self, vm: Vm) -> int:
        """What the guest's hardware says; a PV guest has none, and is awake."""
        config = await self.world.store.config(vm)
        return ACPI_S0 if config.virt_type == "pv" else await self.life.monitors.client(vm).acpi_state()

    async def _comes_to(self, vm: Vm, wanted: int, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while await self._acpi(vm) != wanted:  # noqa: ASYNC110 - xenvm tells of sleep, not of waking
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return False
        return True

    async def _need_addons(self, vm: Vm) -> None:
        if not (await self.world.store.config(vm))["pv-addons"]:
            raise ActionRequiresPvAddons(f"VM {vm.uuid} has no guest drivers that could be asked")

    # Files

    async def suspend_to_file(self, vm: Vm, file: str) -> None:
        """Save a running VM and end its domain.  Raises VmBadState (102)."""
        _need_absolute(file)
        await (await self.life.need_running(vm)).suspend(file)
        await self.life.queue.settled(vm)

    async def resume_from_file(self, vm: Vm, file: str) -> None:
        """Let a saved VM go on; the file stays.  After an error the VM is stopped as before."""
        _need_absolute(file)
        async with vm.operation:
            if vm.state is not State.SUSPENDED and await self.life.is_running(vm):
                raise VmBadState(f"VM {vm.uuid} runs already")
            config = await self.world.store.config(vm)
            vm.is_hvm = config.is_hvm
            lines = config_lines(config, await gather_facts(self.world, vm, config))
            is_new = await self.life.monitors.bring_up(vm, lines)
            try:
                await self._restore(vm, config, file)
            except BaseException:
                if is_new:
                    await self.life.monitors.retire(vm)
                raise

    async def _restore(self, vm: Vm, config: VmConfig, file: str) -> None:
        xenvm = self.life.monitors.client(vm)
        await xenvm.restore_paused(file)
        await self.life.queue.settled(vm)
        vm.domid = vm.domid or await xenvm.domid()
        await self.life.starter.prepare_domain(vm, config)
        await xenvm.unpause()
        await self.life.queue.settled(vm)


def _need_absolute(file: str) -> None:
    if not file.startswith("/") or "\n" in file:
        raise BadRequest(f"not the path of a file: {file[:60]!r}")
