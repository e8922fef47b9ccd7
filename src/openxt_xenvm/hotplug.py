# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks, network cards and PCI devices that come, go and change while their domain runs.

Who calls holds the VM's lock.  The record says what is under way before anything is touched: a monitor that
finds it takes away what came half, and puts back what was to be replaced.  Without a domain only the config
for the next start changes.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from openxt_core.errors import BadRequest, NotSupported
from openxt_core.ids import Domid
from openxt_xen.hypervisor import Kind
from openxt_xen.xenstore import paths
from openxt_xenvm import executor
from openxt_xenvm.config.lines import read_pci_address
from openxt_xenvm.config.model import Disk, DomainConfig, Nic, PciAddress, PciDevice
from openxt_xenvm.config.nics import HostNet, NicClash, sanitised
from openxt_xenvm.devices import checks
from openxt_xenvm.devices.numbers import device_number
from openxt_xenvm.devices.pci import group
from openxt_xenvm.errors import DeviceError, DeviceTimeout, InvalidConfig, VmBadState
from openxt_xenvm.leaving import Leaving
from openxt_xenvm.lifecycle import Lifecycle
from openxt_xenvm.plan.closing import Plugged
from openxt_xenvm.plan.emulated import plan_emulated
from openxt_xenvm.plan.passing import GrantPci, pci_in_use, plan_pci, plan_unplug_pci
from openxt_xenvm.plan.plugging import PlugDisk, PlugNic, plan_disks
from openxt_xenvm.plan.regrouping import plan_join, plan_leave
from openxt_xenvm.plan.steps import Reversed, Step
from openxt_xenvm.plan.stub_disc import PlugStubDisc, plan_stub_eject, plan_stub_insert
from openxt_xenvm.plan.switching import SwitchNetwork, backend_of, is_bridge
from openxt_xenvm.plan.unplugging import AskToClose, Close, Detach, plan_unplug, withdraw
from openxt_xenvm.record import Operation
from openxt_xenvm.state import ALIVE

log = logging.getLogger(__name__)

Change = Callable[[DomainConfig], DomainConfig]


@dataclass
class Hotplug:
    life: Lifecycle
    leaving: Leaving = field(init=False)

    def __post_init__(self) -> None:
        self.leaving = Leaving(self.life, self._settle)

    # Disks

    async def add_disk(self, disk: Disk) -> None:
        """Raises InvalidConfig with all that is wrong with it."""
        change = _with_disk(disk)
        await self._check(change)
        await self._do(Operation("plug", kind="vbd"), _devid(disk), tuple(self._plan([disk])), change)

    async def remove_disk(self, virtpath: str, *, forced: bool) -> None:
        """Raises DeviceTimeout while the guest uses it, unless `forced`."""
        disk = self._disk(virtpath)
        plan = plan_unplug("vbd", _devid(disk), Domid(disk.backend_domid), forced=forced)
        operation = Operation("unplug", kind="vbd", forced=forced)
        await self._do(operation, _devid(disk), plan, _without_disk(disk))

    async def change_disc(self, virtpath: str, path: str, type_: str) -> None:
        """Another disc in a CD drive, or none.  A guest with PV drivers sees its drive go and come.

        Linux's blkback cannot change the device behind a disk: "changing physical device … not supported".
        """
        old = self._disk(virtpath)
        if not old.is_cdrom:
            raise BadRequest(f"disk {virtpath} is no CD drive")
        new = replace(old, path=path, type=type_, writable=False)
        await self._check(lambda config: _with_disk(new)(_without_disk(old)(config)))
        await self._refuse_locked(old)
        going = [Reversed(step) for step in reversed(tuple(self._plan([old])))]
        asking = [AskToClose(Domid(old.backend_domid), "vbd", _devid(old))] if old.path else []
        emulated = await plan_emulated(self.life.host, self.life.vm.uuid, old, new)
        coming = (*self._plan([new]), *plan_stub_insert(new))
        plan = (*emulated, *plan_stub_eject(old), *asking, *going, *coming)
        await self._do(Operation("replace", kind="vbd"), _devid(old), plan, _replaced_disk(old, new))

    async def _refuse_locked(self, disk: Disk) -> None:
        """A device model tells of a tray that the guest has locked."""
        if self.life.vm.domid is not None:
            back = paths.backend(Domid(disk.backend_domid), "vbd", self.life.vm.domid, _devid(disk))
            if await self.life.host.store.read(f"{back}/locked") == "true":
                raise DeviceError(f"the guest has locked the tray of {disk.virtpath}")

    def _disk(self, virtpath: str) -> Disk:
        try:
            number = device_number(virtpath)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        for disk in self._config().disk:
            if device_number(disk.virtpath) == number:
                return disk
        raise BadRequest(f"the VM has no disk {virtpath}")

    # Network cards

    async def add_nic(self, nic: Nic) -> int:
        """Its id: the lowest free one when it has none."""
        bridges = await self.life.host.xen(self.life.host.keeper.bridges)
        before = self._config().nic
        try:
            nics = sanitised((*before, nic), self.life.vm.uuid, HostNet(bridges, os.urandom))
        except NicClash as clash:
            raise InvalidConfig(str(clash)) from None
        (new,) = (found for found in nics if found.id not in {other.id for other in before})
        await self._check(_with_nic(new))
        assert new.id is not None
        await self._do(Operation("plug", kind="vif"), new.id, (PlugNic(new),), _with_nic(new))
        return new.id

    async def remove_nic(self, id_: int, *, forced: bool) -> None:
        nic = self._nic(id_)
        plan = plan_unplug("vif", id_, Domid(nic.backend_domid), forced=forced)
        operation = Operation("unplug", kind="vif", forced=forced)
        await self._do(operation, id_, plan, _without_nic(nic))

    async def move_nic(self, id_: int, backend: Domid) -> None:
        """Have another domain serve it; the guest sees the card go and come."""
        old = self._nic(id_)
        new = replace(old, backend_domid=backend)
        await self._check(_replaced_nic(old, new))
        plan = (Reversed(PlugNic(old)), PlugNic(new))
        await self._do(Operation("replace", kind="vif"), id_, plan, _replaced_nic(old, new))

    async def switch_network(self, id_: int, network: str) -> None:
        """`network`: a bridge of dom0, or an object path, which whoever connects the card understands."""
        old = self._nic(id_)
        new = replace(old, bridge=network) if is_bridge(old, network) else replace(old, network=network)
        await self._check(_replaced_nic(old, new))
        domid = self._alive()
        if domid is not None:
            before = await self.life.host.store.read(f"{backend_of(domid, old)}/bridge") or ""
            switch = SwitchNetwork(old, before, network)
            await executor.run([switch], self.life.site(), domain_stays=True)
        self._keep(_replaced_nic(old, new))

    def _nic(self, id_: int) -> Nic:
        for nic in self._config().nic:
            if nic.id == id_:
                return nic
        raise BadRequest(f"the VM has no network card {id_}")

    # PCI devices

    async def add_pci(self, device: PciDevice) -> None:
        """Raises InvalidConfig, CannotUsePciWithNoPciback, DeviceError, NotSupported."""
        change = _with_pci(device)
        await self._check(change)
        self._refuse_running_hvm()
        pci = group(change(self._config()), device.group)
        plan = plan_pci(pci) if len(pci.members) == 1 else plan_join(pci, device)
        operation = Operation("plug", kind="pci", address=str(device.address))
        await self._do(operation, device.group, tuple(plan), change)

    async def remove_pci(self, address: PciAddress, *, forced: bool) -> None:
        """It stays with pciback, for the next who wants it.

        Raises NotSupported; DeviceTimeout while the guest uses it, unless `forced` and the last of its group.
        """
        for device in self._config().pci:
            if device.address == address:
                break
        else:
            raise BadRequest(f"the VM has no PCI device {address}")
        self._refuse_running_hvm()
        pci = group(self._config(), device.group)
        is_last = len(pci.members) == 1
        plan = plan_unplug_pci(pci, forced=forced) if is_last else tuple(plan_leave(pci.devid, address))
        operation = Operation("unplug", kind="pci", address=str(address))
        await self._do(operation, device.group, plan, _without_pci(address))

    def _refuse_running_hvm(self) -> None:
        """Its device model knows only what it has had from the start.  Raises NotSupported."""
        if self._alive() is not None and self._config().kind is Kind.HVM:
            raise NotSupported("PCI devices that come and go while an HVM domain runs: not built yet")

    # What a dead monitor left half done

    async def recover(self, operation: Operation) -> None:
        """The device is gone afterwards, or what it was before it was to be replaced.

        Raises DeviceTimeout while the guest uses one that shall not be torn away.
        """
        site, config = self.life.site(), self.life.vm.active
        if operation.name == "unplug" and operation.kind != "pci" and not operation.forced:
            asking = [AskToClose(backend, operation.kind, operation.devid) for backend in site.backends]
            await self._run(operation, asking)
        disks, nics = self._disks(operation), self._nics(operation)
        stubs = [Reversed(PlugStubDisc(disk)) for disk in disks if operation.name == "replace"]
        gone = (*stubs, *_taking_away(operation, config, site.backends))
        await executor.run(gone, site, domain_stays=True)
        if operation.name == "replace":
            discs = (step for disk in disks for step in plan_stub_insert(disk))
            await executor.run((*self._plan(disks), *map(PlugNic, nics), *discs), site, domain_stays=True)
            return
        for disk in disks:
            self._keep(_without_disk(disk))
        for nic in nics:
            self._keep(_without_nic(nic))
        if operation.address:
            self._keep(_without_pci(read_pci_address(operation.address)))

    async def adopt(self) -> None:
        """An earlier monitor may have asked the guest for some in vain."""
        config = self.life.vm.active
        disks = (_plugged_disk(disk) for disk in config.disk if disk.path)
        await self.leaving.adopt((*disks, *map(_plugged_nic, config.nic)))

    async def _settle(self, operation: Operation, device: Plugged) -> None:
        """The guest has let go what it had been asked for.  What stands below a disk still does."""
        if operation.name == "unplug":
            await self.recover(operation)
            return
        again = [step for step in self._plan(self._disks(operation)) if isinstance(step, PlugDisk)]
        plan = (Close(*device), *again, *map(PlugNic, self._nics(operation)))
        await executor.run(plan, self.life.site(), domain_stays=True)

    def _disks(self, operation: Operation) -> list[Disk]:
        is_one = operation.kind == "vbd"
        return [disk for disk in self._config().disk if is_one and _devid(disk) == operation.devid]

    def _nics(self, operation: Operation) -> list[Nic]:
        is_one = operation.kind == "vif"
        return [nic for nic in self._config().nic if is_one and nic.id == operation.devid]

    # How

    def _config(self) -> DomainConfig:
        """Of the domain, or of the next one when there is none."""
        vm = self.life.vm
        return vm.next_config if vm.domid is None else vm.active

    def _alive(self) -> Domid | None:
        """Raises VmBadState for a domain that comes or goes just now."""
        vm = self.life.vm
        if vm.domid is not None and vm.state not in ALIVE:
            raise VmBadState(f"devices cannot change in state {vm.state}")
        return vm.domid

    def _plan(self, disks: Iterable[Disk]) -> Iterator[Step]:
        has_stubdom = self.life.vm.stubdom is not None
        return plan_disks(disks, with_inquiries=self._config().diskinfo_pt, has_stubdom=has_stubdom)

    async def _check(self, change: Change) -> None:
        """Raises InvalidConfig with everything that the change makes wrong."""
        keeper, before = self.life.host.keeper, self._config()
        bridges = await self.life.host.xen(keeper.bridges)
        domids = {info.domid for info in await self.life.host.xen(self.life.host.hypervisor.domains)}
        taken = await pci_in_use(self.life.site())
        host = checks.HostDevices(
            keeper.disk_problem, bridges, keeper.pci.problem, domids.__contains__, taken
        )

        def found() -> list[str]:
            old, new = (
                [*checks.mistakes(config, host), *checks.not_built_yet(config)]
                for config in (before, change(before))
            )
            return [text for text in new if text not in old]

        if mistakes := await self.life.host.xen(found):
            raise InvalidConfig("; ".join(mistakes))

    async def _do(self, operation: Operation, devid: int, plan: Sequence[Step], change: Change) -> None:
        """All steps, or none; then the change is kept."""
        vm, operation = self.life.vm, replace(operation, devid=devid)
        if self._alive() is not None:
            vm.begin(operation)
            try:
                await self._run(operation, plan)
                self._keep(change)
            finally:
                vm.end()
        else:
            vm.pending = change(vm.next_config)

    async def _run(self, operation: Operation, plan: Sequence[Step]) -> None:
        """All steps, or none.  What the guest goes on using, and is no more asked for, it shall keep."""
        devices = tuple(map(_plugged_disk, self._disks(operation)))
        devices += tuple(map(_plugged_nic, self._nics(operation)))
        self.leaving.forget(*devices)
        try:
            await executor.run(plan, self.life.site(), domain_stays=True)
        except BaseException as error:
            stands = operation.name == "unplug" and isinstance(error, DeviceTimeout)
            await executor.uninterrupted(self._leave(devices, stands=stands))
            raise

    async def _leave(self, devices: Sequence[Plugged], *, stands: bool) -> None:
        for device in devices:
            if stands or await withdraw(self.life.site(), *device):
                self.leaving.wait(device, is_going=stands)

    def _keep(self, change: Change) -> None:
        """In the domain's config, and in one that waits for the next start."""
        vm = self.life.vm
        if vm.domid is not None:
            vm.active = change(vm.active)
            vm.changed()
        if vm.domid is None or vm.pending is not None:
            vm.pending = change(vm.next_config)


def _devid(disk: Disk) -> int:
    return device_number(disk.virtpath)


def _plugged_disk(disk: Disk) -> Plugged:
    return Domid(disk.backend_domid), "vbd", _devid(disk)


def _plugged_nic(nic: Nic) -> Plugged:
    return Domid(nic.backend_domid), "vif", nic.id or 0


def _with_disk(disk: Disk) -> Change:
    return lambda config: replace(config, disk=(*config.disk, disk))


def _without_disk(disk: Disk) -> Change:
    return lambda config: replace(config, disk=tuple(d for d in config.disk if _devid(d) != _devid(disk)))


def _replaced_disk(old: Disk, new: Disk) -> Change:
    def change(config: DomainConfig) -> DomainConfig:
        return replace(config, disk=tuple(new if _devid(d) == _devid(old) else d for d in config.disk))

    return change


def _with_nic(nic: Nic) -> Change:
    return lambda config: replace(config, nic=(*config.nic, nic))


def _without_nic(nic: Nic) -> Change:
    return lambda config: replace(config, nic=tuple(n for n in config.nic if n.id != nic.id))


def _replaced_nic(old: Nic, new: Nic) -> Change:
    return lambda config: replace(config, nic=tuple(new if n.id == old.id else n for n in config.nic))


def _with_pci(device: PciDevice) -> Change:
    return lambda config: replace(config, pci=(*config.pci, device))


def _without_pci(address: PciAddress) -> Change:
    return lambda config: replace(config, pci=tuple(d for d in config.pci if d.address != address))


def _taking_away(operation: Operation, config: DomainConfig, backends: Iterable[Domid]) -> Sequence[Step]:
    """Whatever there is of the device."""
    closing = [Close(backend, operation.kind, operation.devid) for backend in sorted(backends)]
    if operation.address:
        address = read_pci_address(operation.address)
        if _has_fellows(operation, config):
            return tuple(plan_leave(operation.devid, address))
        return (*closing, Reversed(GrantPci(address)))
    return (*closing, Detach(operation.devid)) if operation.kind == "vbd" else closing


def _has_fellows(operation: Operation, config: DomainConfig) -> bool:
    """A PCI device that shares both ends with others, which stay."""
    others = [device for device in config.pci if str(device.address) != operation.address]
    return bool(operation.address) and any(device.group == operation.devid for device in others)
