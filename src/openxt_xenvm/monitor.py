# SPDX-License-Identifier: GPL-2.0-or-later
"""One VM's monitor: one lock for everything that changes its life, queries answered at once.

`destroy` overtakes whatever else is under way: that is cancelled, which undoes it, before the domain goes.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from openxt_core.errors import OpenxtError
from openxt_core.ids import Domid
from openxt_xen.hypervisor import HvmParam, XenError
from openxt_xen.xenstore import paths
from openxt_xenvm import adoption, record
from openxt_xenvm.adoption import Course, Decision
from openxt_xenvm.config.device_lines import with_devices
from openxt_xenvm.config.model import Startup, StartupMode
from openxt_xenvm.config.nics import HostNet
from openxt_xenvm.config.parse import Parsed, parse_config
from openxt_xenvm.domain.memory import KIB_PER_MIB, page_aligned_kib
from openxt_xenvm.ending import Ending, Logs
from openxt_xenvm.errors import InvalidConfig, TaskRefused
from openxt_xenvm.fate import Fate, action_for
from openxt_xenvm.hotplug import Hotplug
from openxt_xenvm.jobs import OVERTAKEN, Job, Jobs, JobState
from openxt_xenvm.lifecycle import Lifecycle
from openxt_xenvm.plan.closing import attached_of
from openxt_xenvm.plan.stub_site import stubdom_of
from openxt_xenvm.reconnecting import Reconnecting
from openxt_xenvm.record import Operation
from openxt_xenvm.saving import Saving
from openxt_xenvm.site import Host
from openxt_xenvm.sleeping import REFUSED, Sleeping
from openxt_xenvm.state import Event, may
from openxt_xenvm.target import set_target_kib, video_kib
from openxt_xenvm.vm import Vm

log = logging.getLogger(__name__)

NO_ACPI_STATE = 5  # what clients take for "off"


@dataclass
class Monitor:
    vm: Vm
    host: Host
    life: Lifecycle
    hotplug: Hotplug
    logs: Logs
    quitting: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # once what was left is dealt with
    jobs: Jobs = field(default_factory=Jobs)
    saving: Saving = field(init=False)
    sleeping: Sleeping = field(init=False)
    ending: Ending = field(init=False)
    reconnecting: Reconnecting = field(init=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _followed_up: Domid | None = None  # whose end needs no reaction any more, though it may be preserved

    def __post_init__(self) -> None:
        self.saving = Saving(self.life)
        self.sleeping = Sleeping(self.life)
        self.ending = Ending(self.life, self.logs, self._read_again)
        self.reconnecting = Reconnecting(self.life, self._begin)
        self.vm.changed = self._vm_changed
        self.hotplug.leaving.in_turn = self._begin
        self.jobs.may_turn_back = lambda: not self.life.is_stopping

    def _vm_changed(self) -> None:
        self.sleeping.follow()
        self.reconnecting.follow()

    # Operations

    async def start(self, *, paused: bool = False) -> None:
        await self.operate("start", lambda: self.life.start(paused=paused))

    async def halt(self, *, forced: bool = False) -> None:
        await self.operate("halt", lambda: self.life.halt(forced=forced))

    async def reboot(self, *, forced: bool = False, auto_start: bool = False) -> None:
        await self.operate("reboot", lambda: self.life.reboot(forced=forced, auto_start=auto_start))

    async def pause(self) -> None:
        await self.operate("pause", self.life.pause)

    async def unpause(self) -> None:
        await self.operate("unpause", self.life.unpause)

    async def suspend(self, file: str, *, live: bool = False) -> None:
        await self.operate("suspend", lambda: self.saving.suspend(file, live=live))

    async def checkpoint(self, file: str) -> None:
        await self.operate("checkpoint", lambda: self.saving.checkpoint(file))

    async def restore(self, file: str, *, paused: bool = False, delete: bool = True) -> None:
        await self.operate("restore", lambda: self.saving.restore(file, paused=paused, delete=delete))

    async def sleep(self, timeout_s: float) -> None:
        await self.operate("s3suspend", lambda: self.sleeping.s3(timeout_s))

    async def hibernate(self, timeout_s: float) -> None:
        await self.operate("s4suspend", lambda: self._hibernate(timeout_s))

    async def _hibernate(self, timeout_s: float) -> None:
        """The domain's end is followed up here: whoever waits is told when all is done."""
        fate = await self.sleeping.s4(timeout_s)
        if self.vm.domid is not None:
            self._followed_up = self.vm.domid
            await self._react_now(fate)
        if fate is not Fate.HALTED:
            raise TaskRefused(f"{REFUSED.format('s4')}: it {fate}")

    async def destroy(self) -> None:
        for job in self.jobs.under_way():
            if job.name != "destroy":
                self.jobs.call_off(job, OVERTAKEN)
        await self.operate("destroy", self.life.destroy)

    async def operate(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Runs to its end even when the caller leaves.  Raises VmBadState when `destroy` overtook it."""
        await self.jobs.result(self._begin(name, work))

    def _begin(self, name: str, work: Callable[[], Awaitable[None]]) -> Job:
        return self.jobs.begin(name, partial(self._locked, work), self.host.settings.deadline_s)

    async def _locked(self, work: Callable[[], Awaitable[None]], job: Job) -> None:
        async with self._lock:
            self.jobs.proceed(job, JobState.RUNNING, 0)
            self.vm.progress = partial(self.jobs.proceed, job, JobState.RUNNING)
            await work()

    async def close(self) -> None:
        """Operations under way are cancelled, which undoes them; the domain is left as it is."""
        left = self.jobs.under_way()
        for job in left:
            self.jobs.call_off(job, "the monitor ends")
        if works := [job.work for job in left if job.work is not None]:
            await asyncio.wait(works)
        self.sleeping.forget()
        self.reconnecting.forget()
        self.hotplug.leaving.forget()
        await self.life.watch.forget()
        self.vm.save()

    # What an earlier monitor left

    async def settle(self) -> None:
        """Adopt the running domain, or remove what a dead monitor left half done."""
        try:
            await self.operate("adopt", self._adopt_or_clean)
        finally:
            self.settled.set()

    async def _adopt_or_clean(self) -> None:
        left = record.load(self.vm.record_path)
        domains = await self.host.xen(self.host.hypervisor.domains)
        ours = [info for info in domains if info.uuid == self.vm.uuid and info.domid]
        is_whole = await self.saving.is_whole(left.operation if left else None)
        decision = adoption.decide(ours, left, is_whole=is_whole)
        if decision.course is Course.NOTHING:
            return
        log.info("%s: domain %s", decision.course.value, ", ".join(map(str, decision.domids)))
        if left is not None:
            self.vm.backends |= set(left.backends)
            self.vm.attached |= set(left.attached)
            self.vm.stubdom = left.stubdom
        for info in ours:
            if left is None:
                self.vm.attached |= await attached_of(self.host, info.domid)
            self.vm.stubdom = self.vm.stubdom or await stubdom_of(self.host, info.domid)
        if decision.course is Course.CLEAN_UP:
            await self._clean_up(decision)
            if decision.then is not None:
                self._continue(decision.then)
        else:
            self._know_devices(left)
            await self._adopt(decision, left)

    def _know_devices(self, left: record.Record | None) -> None:
        """The domain has those that it was given, whatever the file says for the next one."""
        if left is None or left.domid is None:
            return
        adopted = with_devices(self.vm.active, left.devices)
        if adopted != self.vm.active:
            self.vm.active, self.vm.pending = adopted, self.vm.active

    async def _clean_up(self, decision: Decision) -> None:
        try:
            for domid in decision.domids:
                await self._stop_left(domid)
            if self.vm.has_remains:  # of a domain that nobody remembers
                await self._stop_left(None)
            self.vm.conclude(decision.found or Event.DESTROYED)
        finally:
            self.vm.end()

    async def _stop_left(self, domid: Domid | None) -> None:
        """What cannot be given back yet is tried again later.  Raises OpenxtError if the domain is there."""
        self.vm.begin(Operation("destroy"))
        if domid is not None:
            self.vm.learn_domid(domid)
        try:
            await self.life.stop()
        except OpenxtError as error:
            if self.vm.domid is not None:
                raise
            log.warning("not all of domain %s could be cleaned up: %s", domid, error)

    async def _adopt(self, decision: Decision, left: record.Record | None) -> None:
        assert decision.found is not None
        (domid,) = decision.domids
        if decision.then is not None and left is not None:
            # Kept until it has ended: should we be killed, too, the next monitor decides the same.
            self.vm.operation = left.operation
        self.vm.domid = domid  # noted with its state: without that it would be taken for half built
        self.vm.move(decision.found)
        if (
            decision.then is not None
        ):  # before anybody hears that the domain has ended: it knows what to do then
            self._continue(decision.then)
            await asyncio.sleep(0)  # it is the next in turn
        if decision.then is None or decision.then.name != "died":
            await self.life.follow(domid)
            await self.sleeping.adopt(domid)
            await self.hotplug.adopt()

    def _continue(self, operation: Operation) -> None:
        """What was under way goes on by itself; nobody waits for its answer any more."""
        works: dict[str, Callable[[], Awaitable[None]]] = {
            "start": lambda: self.life.start(paused=operation.paused, operation=operation),
            "unpause": lambda: self._finish_start(operation),
            "suspend": lambda: self.saving.give_up(operation),
            "checkpoint": lambda: self.saving.give_up(operation),
            "saved": self.saving.finish,
            "died": lambda: self.ending.follow_up(Fate(operation.fate)),
            **dict.fromkeys(adoption.PLUGGINGS, lambda: self.hotplug.recover(operation)),
            "halt": lambda: self.life.halt(forced=operation.forced),
            "reboot": lambda: self.life.reboot(forced=operation.forced, auto_start=operation.auto_start),
        }
        self._begin(operation.name, lambda: self._last(works[operation.name]))

    async def _last(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            self.vm.end()

    async def _finish_start(self, operation: Operation) -> None:
        """Somebody may have unpaused it meanwhile."""
        if not operation.paused and may(self.vm.state, Event.UNPAUSED):
            await self.life.unpause()
        if operation.delete:
            await self.saving.remove(operation.file)

    async def start_up(self, startup: Startup) -> None:
        """What the config says to do with a VM that has no domain yet, and that nobody is about to start."""
        if self.vm.domid is not None or self.jobs.under_way() or startup.mode is StartupMode.SHUTDOWN:
            return
        if startup.mode is StartupMode.RESTORE:
            await self.restore(startup.file, delete=startup.delete)
            return
        await self.start(paused=startup.mode is StartupMode.PAUSED)

    # What happens by itself

    def domain_ended(self, domid: Domid, fate: Fate) -> None:
        """Somebody, most often the guest, ended the domain; what follows waits for its turn."""
        self._begin("died", lambda: self._react(domid, fate))

    async def _react(self, domid: Domid, fate: Fate) -> None:
        if self.vm.domid != domid or self._followed_up == domid:
            return
        if fate is Fate.SUSPENDED:
            await self._wake_up()
            return
        await self._react_now(fate)

    async def _react_now(self, fate: Fate) -> None:
        self.vm.begin(Operation("died", fate=fate, action=action_for(fate, self.vm.active)))
        try:
            await self.ending.follow_up(fate)
        finally:
            self.vm.end()

    async def _wake_up(self) -> None:
        """It did late what it had been asked to, when nobody waited any more.  Or others asked: theirs."""
        if self.vm.may_suspend:
            await self.saving.go_on()

    # Config

    def _read_again(self) -> None:
        if self.vm.config_path:
            self.read_config()

    def read_config(self, path: str = "") -> None:
        """Parse a file, by default the one given at the start, for the next start of the VM."""
        where = path or self.vm.config_path
        if not where:
            raise TaskRefused("no config file was given")
        parsed = load_config(Path(where), self.vm)
        for error in parsed.errors:
            log.warning("%s", error)
        if parsed.fatal:
            raise InvalidConfig("; ".join(error.reason for error in parsed.fatal))
        self.vm.pending = parsed.config

    # Queries and small changes

    async def acpi_state(self) -> int:
        """The guest's ACPI sleep state; 5 when there is none to be asked."""
        if self.vm.domid is None:
            return NO_ACPI_STATE
        try:
            return await self.host.xen(
                self.host.hypervisor.get_hvm_param, self.vm.domid, HvmParam.ACPI_S_STATE
            )
        except XenError:
            return NO_ACPI_STATE

    async def stubdomid(self) -> int:
        """Of the domain that runs the device model; -1 for none."""
        text = await self._node(paths.stubdomid)
        return int(text) if text.isascii() and text.isdecimal() else -1

    async def vnc_port(self) -> str:
        """ "" for none."""
        return await self._node(lambda domid: paths.console(domid, "vnc-port"))

    async def _node(self, path_of: Callable[[Domid], str]) -> str:
        """What a node of the domain holds, "" when there is none."""
        domid = self.vm.domid
        return "" if domid is None else await self.host.store.read(path_of(domid)) or ""

    async def set_memory_target(self, mib: int) -> None:
        """Ask the guest's balloon driver; the limits in Xen stay as they are."""
        if self.vm.domid is None:
            raise TaskRefused("no domain id")
        store, domid = self.host.store, self.vm.domid
        maximum_kib = self.vm.active.static_max_kib or 0
        kib, video = page_aligned_kib(mib * KIB_PER_MIB), await video_kib(store, domid)
        if not video < kib <= maximum_kib:
            least = video // KIB_PER_MIB + 1
            raise TaskRefused(f"{mib} MiB is not between {least} and {maximum_kib // KIB_PER_MIB}")
        await set_target_kib(store, domid, kib)

    def quit(self) -> None:
        self.quitting.set()


def load_config(path: Path, vm: Vm) -> Parsed:
    """Raises InvalidConfig when the file cannot be read."""
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise InvalidConfig(f"cannot read {path}: {error.strerror}") from error
    return parse_config(text, vm.uuid, HostNet(random_bytes=os.urandom))
