# SPDX-License-Identifier: GPL-2.0-or-later
"""Start one VM, with its monitor: what is done, in which order, and what takes it back when it fails.

The caller holds the VM's operation lock and has made sure that it does not run.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from openxt_core.errors import AlreadyCreated, DiskSumDoesNotMatch, NotEnoughMemory, OpenxtError, Unavailable
from openxt_xenmgr.host.images import is_there
from openxt_xenmgr.links.nodes import WRITABLE, sentinel_node
from openxt_xenmgr.links.xenvm import DESTROY_TIMEOUT_S, START_TIMEOUT_S, MonitorGone, XenvmClient
from openxt_xenmgr.properties.table import Change
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm import discs
from openxt_xenmgr.vm.balloon import make_room
from openxt_xenmgr.vm.checks import situation
from openxt_xenmgr.vm.events import MeasurementFailed, StateChanged
from openxt_xenmgr.vm.extraction import extract, kernel_file
from openxt_xenmgr.vm.firewall import Firewall
from openxt_xenmgr.vm.launch import gather_facts
from openxt_xenmgr.vm.limited_hooks import run_hard
from openxt_xenmgr.vm.measuring import measure
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.monitor import Monitors
from openxt_xenmgr.vm.ovf import make_iso, remove_iso
from openxt_xenmgr.vm.preflight import need_none, reasons
from openxt_xenmgr.vm.queue import EventQueue
from openxt_xenmgr.vm.relocation import move_clients
from openxt_xenmgr.vm.states import AT_REST, State, reached
from openxt_xenmgr.vm.tree import maybe_text
from openxt_xenmgr.vm.xenvm_config import LaunchFacts, config_lines
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

CREATED_TIMEOUT_S = 60.0
LAST_WORD_S = 5.0  # for the call that started it to say why it failed
SENTINEL_TIMEOUT_S = 60.0
DEATHS_SURVIVED = 3  # of the monitor, while cleaning up


def last_start_key(vm: Vm) -> str:
    """Where the revision of the database is kept with which a VM was started last."""
    return f"/xenmgr/last-start/{vm.uuid}"


@dataclass
class Attempt:
    """What this start has made so far."""

    had_state_node: bool
    new_kernel: Path | None  # what was not there before, if it is there then
    spawned_monitor: bool = False
    asked_monitor: bool = False
    tampered: MeasurementFailed | None = None


@dataclass(frozen=True)
class Starter:
    world: World
    queue: EventQueue
    monitors: Monitors
    firewall: Firewall

    async def start(self, vm: Vm, config: VmConfig, revision: int) -> None:
        """Returns when the VM has been unpaused.  After an error nothing of the start is left.

        `revision` is the database's, at which the configuration was read.
        """
        need_none(reasons(config, await situation(self.world, vm, config)))
        kernel = kernel_file(self.world.places, vm.uuid)
        attempt = Attempt(await self.world.nodes.has_state(vm.uuid), None if kernel.exists() else kernel)
        vm.stubdom_uuid = str(uuid4())
        vm.is_hvm = config.is_hvm
        await self.queue.inject(vm, StateChanged(State.PRE_CREATE))
        try:
            await self._look_into_disks(vm, config, attempt)
            if config["measured"]:  # which may have been noted in the database
                _, revision = await self.world.store.config_at_revision(vm)
            await self._boot(vm, config, attempt)
        except BaseException as error:
            log.warning("VM %s: the start failed: %s", vm.uuid, error)
            if isinstance(error, AlreadyCreated):
                attempt.asked_monitor = False  # the domain that is there is not of this start
            await self._undo(vm, attempt)
            if attempt.tampered is not None:
                await self.queue.inject(vm, attempt.tampered)
            raise
        self.world.background.spawn(f"note of VM {vm.uuid}'s start", self._note_start(vm, revision))

    async def _look_into_disks(self, vm: Vm, config: VmConfig, attempt: Attempt) -> None:
        """Measure first: no kernel is taken out of a disk that was tampered with."""
        attempt.tampered = await measure(self.world, vm, config)
        if attempt.tampered is not None:
            raise DiskSumDoesNotMatch(f"a disk of VM {vm.uuid} was changed: {attempt.tampered.in_words()}")
        await extract(self.world, config)
        await make_iso(self.world, config)

    async def _note_start(self, vm: Vm, revision: int) -> None:
        """A VM that runs does not end because this cannot be kept."""
        try:
            await self.world.db.write(last_start_key(vm), str(revision))
        except OpenxtError as error:
            log.warning("VM %s: what it was started with is not kept: %s", vm.uuid, error)

    async def _boot(self, vm: Vm, config: VmConfig, attempt: Attempt) -> None:
        xenvm = self.monitors.client(vm)
        facts = await gather_facts(self.world, vm, config)
        attempt.spawned_monitor = not await self.monitors.attach(vm)
        async with self.world.registry.memory:
            await self._make_room(vm, config, facts)
        if maybe_text(config.tree, "hibernated") is not None:
            await self.world.store.change(vm, (Change("hibernated", None),), quiet=True)
        if config["run-pre-boot"]:
            await run_hard(self.world, config["run-pre-boot"], vm.uuid)
        attempt.asked_monitor = True
        await run_both(self._bootstrap(xenvm, config), self._follow_creation(vm, config))
        await self._release(vm, config, xenvm)

    async def _make_room(self, vm: Vm, config: VmConfig, facts: LaunchFacts) -> None:
        """With a monitor that knows the configuration; in the least memory if there is not enough.

        Raises NotEnoughMemory (101).
        """
        await self.monitors.bring_up(vm, config_lines(config, facts))
        try:
            await self._free_what_is_needed(vm)
        except NotEnoughMemory:
            if not 0 < config["memory-min"] < config["memory"]:
                raise
            log.info("VM %s starts in its least memory, %d MiB", vm.uuid, config["memory-min"])
            await self.monitors.bring_up(vm, config_lines(in_least_memory(config), facts))
            await self._free_what_is_needed(vm)

    async def _free_what_is_needed(self, vm: Vm) -> None:
        needed_kib = await self.monitors.client(vm).required_to_boot_kib()
        if needed_kib is not None:
            await make_room(self.world, needed_kib)

    async def _bootstrap(self, xenvm: XenvmClient, config: VmConfig) -> None:
        """Have the domain built, and left paused."""
        image = config["start-from-suspend-image"]
        if image and is_there(Path(image)):
            await xenvm.restore_paused(image)
        else:
            await xenvm.start_paused()

    async def _follow_creation(self, vm: Vm, config: VmConfig) -> None:
        await self._until(vm, State.CREATING_DEVICES, START_TIMEOUT_S)
        await self.prepare_domain(vm, config)
        await self._until(vm, State.CREATED, START_TIMEOUT_S)

    async def prepare_domain(self, vm: Vm, config: VmConfig) -> None:
        """What device models and the switcher look for.  Doing it twice is fine."""
        if vm.domid is None:
            raise Unavailable(f"the monitor of VM {vm.uuid} names no domain")
        nodes = self.world.nodes
        await nodes.prepare_domain(config, vm.domid)
        await discs.prepare(self.world, vm.domid)
        if config["stubdom"] and config.is_hvm:
            await nodes.export_stubdom(vm.uuid, vm.domid, START_TIMEOUT_S)
        await self.firewall.settle(vm)
        await nodes.allow_device_model(vm.domid)

    async def _release(self, vm: Vm, config: VmConfig, xenvm: XenvmClient) -> None:
        """Let the built domain run."""
        sentinel = config["boot-sentinel"]
        node = sentinel_node(vm.domid, sentinel) if sentinel and vm.domid is not None else ""
        if node:
            await self.world.nodes.xs.write(node, "")
            await self.world.nodes.xs.set_permissions(node, WRITABLE)
        if vm.domid is not None:
            await discs.give_sticky(self.world, vm, vm.domid)
        await xenvm.unpause()
        await vm.until(lambda state: _ran(state), CREATED_TIMEOUT_S, "running")
        await self.queue.settled(vm)  # who asked for it hears last
        if node:
            await self._wait_for_sentinel(vm, node)
        await move_clients(self.world, vm, config)

    async def finish(self, vm: Vm, config: VmConfig) -> None:
        """Go on with a start whose caller is gone: the domain is built and paused."""
        await self.prepare_domain(vm, config)
        await self._release(vm, config, self.monitors.client(vm))

    async def _wait_for_sentinel(self, vm: Vm, node: str) -> None:
        try:
            await self.world.nodes.xs.wait_until(node, bool, SENTINEL_TIMEOUT_S)
        except TimeoutError:
            log.warning("VM %s: nothing in %s after %g s; going on", vm.uuid, node, SENTINEL_TIMEOUT_S)

    async def _until(self, vm: Vm, wanted: State, timeout_s: float) -> None:
        state = await vm.until(
            lambda state: reached(state, wanted) or state in AT_REST, timeout_s, f"state {wanted}"
        )
        if state in AT_REST:
            raise Unavailable(f"VM {vm.uuid} ended while it was starting")

    # When it fails

    async def _undo(self, vm: Vm, attempt: Attempt) -> None:
        """Leave no domain, and no process, file or node that was not there before."""
        try:
            async with asyncio.timeout(DESTROY_TIMEOUT_S):
                if attempt.asked_monitor:
                    await self._destroy(vm)
                if attempt.spawned_monitor:
                    await self.monitors.retire(vm)
        except (OpenxtError, TimeoutError) as error:
            log.error("VM %s: cleaning up after a failed start: %s", vm.uuid, error)
        if attempt.new_kernel is not None:
            attempt.new_kernel.unlink(missing_ok=True)
        remove_iso(self.world.places, vm.uuid)
        await self.queue.settled(vm)
        if vm.state is not State.SHUTDOWN:
            await self.queue.inject(vm, StateChanged(State.SHUTDOWN))
        if not attempt.had_state_node:
            await self.world.nodes.forget_state(vm.uuid)

    async def _destroy(self, vm: Vm) -> None:
        """End what xenvm has made; one that died is started again, to find the domain and end it."""
        for _ in range(DEATHS_SURVIVED):
            if not vm.has_monitor:
                await self.monitors.spawn(vm)
            xenvm = self.monitors.client(vm)
            with contextlib.suppress(MonitorGone):
                if await xenvm.status() not in AT_REST:
                    await xenvm.destroy()
                return


def in_least_memory(config: VmConfig) -> VmConfig:
    """With memory-min as its memory; a PVH domain, which cannot grow, also as its maximum."""
    least = {"memory": config["memory-min"]}
    if config.virt_type == "pvh":
        least["memory-static-max"] = config["memory-min"]
    return replace(config, values={**config.values, **least})


def _ran(state: State) -> bool:
    return reached(state, State.RUNNING) or state in AT_REST


async def run_both(bootstrap: Coroutine[Any, Any, None], phases: Coroutine[Any, Any, None]) -> None:
    """Run both to the end.  When one fails the other is cancelled; the error of `bootstrap` goes first.

    `bootstrap` ends by itself: it is one call with a time-out.
    """
    starting, following = asyncio.create_task(bootstrap), asyncio.create_task(phases)
    tasks = (starting, following)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        is_lost = following.done() and following.exception() is not None
        await asyncio.wait((starting,), timeout=LAST_WORD_S if is_lost else None)
        if starting.done():
            starting.result()
        await asyncio.wait((following,), timeout=CREATED_TIMEOUT_S)
        if not following.done():
            raise Unavailable(f"its monitor did not tell within {CREATED_TIMEOUT_S:g} s that it is created")
        following.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
