# SPDX-License-Identifier: GPL-2.0-or-later
"""Suspend to a file, restore from it, checkpoint: the sequences that take a guest's memory along.

Who calls holds the VM's lock for the whole sequence.  The file bears a mark of the operation that wrote
it, so that the next monitor can tell whether it was whole when this one died.
"""

import logging
import secrets
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import NotSupported
from openxt_xen.hypervisor import Kind
from openxt_xenvm import executor
from openxt_xenvm.dm import monitor_socket
from openxt_xenvm.errors import SavedVmRefused, TaskRefused, VmBadState
from openxt_xenvm.lifecycle import Lifecycle
from openxt_xenvm.plan.device_model import socket_of, state_of
from openxt_xenvm.plan.saving import GoOn, WriteSaved
from openxt_xenvm.plan.steps import Announce, Step
from openxt_xenvm.record import Operation
from openxt_xenvm.saved import file as saved_file
from openxt_xenvm.saved.header import Header, Machine
from openxt_xenvm.saved.transfer import in_thread
from openxt_xenvm.state import Event, may

log = logging.getLogger(__name__)


@dataclass
class Saving:
    life: Lifecycle

    # Out

    async def suspend(self, file: str, *, live: bool) -> None:
        """The guest is in the file and its domain is gone; on failure it runs on, and there is no file."""
        vm, operation = self.life.vm, self._operation("suspend", file)
        live = live and await self._can_be_live()
        vm.begin(operation)
        try:
            await self._run((Announce(Event.SUSPEND_BEGAN), self._write(operation, live=live)))
            await self.life.stop()
            vm.conclude(Event.SAVED)
        finally:
            vm.end()

    async def checkpoint(self, file: str) -> None:
        """The guest is in the file, and runs on."""
        vm, operation = self.life.vm, self._operation("checkpoint", file)
        live = await self._can_be_live()
        vm.begin(operation)
        try:
            write = self._write(operation, live=live)
            await self._run((Announce(Event.SUSPEND_BEGAN), write, GoOn(self)))
            vm.conclude(Event.GUEST_GOES_ON)
        finally:
            vm.end()

    def _operation(self, name: str, file: str) -> Operation:
        vm = self.life.vm
        if vm.domid is None or not may(vm.state, Event.SUSPEND_BEGAN):
            raise VmBadState(f"{name} is not possible in state {vm.state}")
        if not Path(file).is_absolute():
            raise TaskRefused(f"{name}: {file!r} is not an absolute path")
        if vm.active.kind is Kind.HVM and not self._model.exists():
            raise NotSupported(f"{name} of an hvm domain without a QEMU of its own in dom0 is not built yet")
        if vm.active.disable_migrate or vm.active.pci:
            why = "it has PCI devices" if vm.active.pci else "disable-migrate is set"
            raise TaskRefused(f"{name}: {why}")
        return Operation(name, file=file, mark=secrets.token_hex(8))

    async def _can_be_live(self) -> bool:
        """Whether Xen can tell what the guest writes meanwhile.  Otherwise it stands still for a while."""
        if self.life.vm.active.kind is not Kind.PV:
            return True
        host = await self.life.host.xen(self.life.host.hypervisor.physinfo)
        if not host.has_shadow:
            log.warning("this Xen has no shadow paging: the guest does not run while it is written")
        return host.has_shadow

    def _write(self, operation: Operation, *, live: bool) -> WriteSaved:
        vm, config = self.life.vm, self.life.vm.active
        assert config.memory_kib is not None
        assert config.static_max_kib is not None
        machine = Machine(
            vm.uuid, config.kind, config.vcpus, config.memory_kib, config.static_max_kib, operation.mark
        )
        return WriteSaved(Path(operation.file), machine, live, self)

    async def _run(self, plan: tuple[Step, ...]) -> None:
        vm = self.life.vm
        try:
            await executor.run(plan, self.life.site(), domain_stays=True)
        except BaseException:
            if may(vm.state, Event.GUEST_GOES_ON):
                vm.conclude(Event.GUEST_GOES_ON)
            raise

    # What the steps ask of the guest

    async def wait_suspended(self) -> bool:
        vm = self.life.vm
        assert vm.domid is not None
        vm.may_suspend = True
        is_suspended = await self.life.asking.suspend(vm.domid, vm.active.kind)
        if is_suspended and self._has_model:
            await monitor_socket.stand_still(self._model, self._answer_s)
        return is_suspended

    @property
    def _has_model(self) -> bool:
        """One that writes to the guest's memory: PV and PVH domains have none."""
        return self.life.vm.active.kind is Kind.HVM

    @property
    def _model(self) -> Path:
        return socket_of(self.life.host, self.life.vm.uuid)

    @property
    def _answer_s(self) -> float:
        return self.life.host.settings.model_answer_s

    async def log_dirty(self, enable: bool) -> None:
        if self._has_model:
            await monitor_socket.log_dirty(self._model, self._answer_s, enable=enable)

    async def save_model(self) -> Path | None:
        if not self._has_model:
            return None
        state = state_of(self.life.host, self.life.vm.uuid)
        await monitor_socket.save_devices(self._model, state, self._answer_s)
        return state

    async def go_on(self) -> None:
        """It is followed again: its suspension counted as its end."""
        domid = self.life.vm.domid
        if domid is not None and self._has_model:
            await in_thread(lambda: state_of(self.life.host, self.life.vm.uuid).unlink(missing_ok=True))
            await monitor_socket.go_on(self._model, self._answer_s)
        if domid is not None and await self.life.asking.go_on(domid):
            self.life.vm.may_suspend = False
            await self.life.follow(domid)

    # In

    async def restore(self, file: str, *, paused: bool, delete: bool) -> None:
        """Up to running, or created when `paused`.  A failed one leaves the file and nothing else."""
        vm = self.life.vm
        if not may(vm.state, Event.RESTORE_BEGAN):
            raise VmBadState(f"restore is not possible in state {vm.state}")
        header = await in_thread(lambda: saved_file.check(Path(file)))
        self._check_owner(file, header)
        vm.move(Event.RESTORE_BEGAN)
        operation = Operation("restore", paused=paused, file=file, delete=delete)
        await self.life.start(paused=paused, saved=header.machine, operation=operation)
        if delete:
            await self.remove(file)

    def _check_owner(self, file: str, header: Header) -> None:
        if header.machine.uuid != self.life.vm.uuid:
            raise SavedVmRefused(f"{file}: it holds VM {header.machine.uuid}")
        if (header.machine.kind is Kind.HVM) != bool(header.model_bytes):
            raise SavedVmRefused(f"{file}: a device model's state is there, or not, against its kind")

    async def remove(self, file: str) -> None:
        await in_thread(lambda: Path(file).unlink(missing_ok=True))

    # What an earlier monitor left

    async def is_whole(self, operation: Operation | None) -> bool:
        """Whether the file of an interrupted suspend or checkpoint was written to its end."""
        if operation is None or not operation.mark:
            return False
        return await in_thread(lambda: saved_file.bears(Path(operation.file), operation.mark))

    async def give_up(self, operation: Operation) -> None:
        """The guest of an interrupted suspend or checkpoint runs on, and nothing half written stays."""
        vm = self.life.vm
        vm.may_suspend = True
        await in_thread(lambda: saved_file.part_of(Path(operation.file)).unlink(missing_ok=True))
        if operation.name == "suspend":
            await in_thread(lambda: saved_file.discard(Path(operation.file), operation.mark))
        await self.go_on()

    async def finish(self) -> None:
        """The file is whole: only the domain had to go."""
        await self.life.stop()
        self.life.vm.conclude(Event.SAVED)
