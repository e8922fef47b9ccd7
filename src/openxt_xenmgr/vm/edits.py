# SPDX-License-Identifier: GPL-2.0-or-later
"""Write one property of a VM: the plain way for most, and the ways of those few that touch more.

Policy has been asked already.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from openxt_core.errors import (
    BadRequest,
    CannotTurnHdxWhenRunning,
    CannotTurnHdxWithoutPvAddons,
    SimultaneousAutostartAndHdx,
)
from openxt_core.spec import Value
from openxt_xenmgr.properties.nic import NETWORK_ROW
from openxt_xenmgr.properties.table import (
    Change,
    Effect,
    Joined,
    Stored,
    changes_for,
    check_allowed,
    has_line_break,
)
from openxt_xenmgr.properties.vm import HDX, STORED_BY_NAME
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm import live
from openxt_xenmgr.vm.devices import nic_in
from openxt_xenmgr.vm.model import EMPTY_DISC, Nic, VmConfig, nics_of
from openxt_xenmgr.vm.slots import swapped
from openxt_xenmgr.vm.states import AT_REST
from openxt_xenmgr.vm.survey import may_have_card, native_user_vms, slots_of_user_vms
from openxt_xenmgr.vm.tree import encode, flag
from openxt_xenmgr.world import World

Setter = Callable[["Editor", Vm, Any], Awaitable[None]]


@dataclass(frozen=True)
class Editor:
    world: World

    async def set(self, vm: Vm, row: Stored | Joined, value: Value) -> None:
        """Write a stored property.  Raises BadRequest for a value the row does not allow."""
        changes = changes_for(row, value)
        special = SPECIAL.get(row.name)
        if special is not None:
            await special(self, vm, value)
        else:
            await self._write(vm, row, changes)

    async def _write(self, vm: Vm, row: Stored | Joined, changes: tuple[Change, ...]) -> None:
        always = isinstance(row, Stored) and row.always
        quiet = row.effect in (Effect.SILENT, Effect.TRANSFER)
        await self.world.store.change(vm, changes, always=always, quiet=quiet)
        await self._follow_up(vm, row.effect)

    async def _follow_up(self, vm: Vm, effect: Effect | None) -> None:
        if effect is Effect.NAME:
            self.world.announcer.vm_name_changed(vm.uuid)
        if effect is Effect.TRANSFER:
            self.world.announcer.vm_transfer_changed(vm.uuid)
        if effect in (Effect.NAME, Effect.SWITCHER) and vm.domid is not None:
            await self.world.nodes.export(await self.world.store.config(vm), vm.domid)

    async def _write_plain(self, vm: Vm, name: str, value: Value) -> None:
        row = STORED_BY_NAME[name]
        await self._write(vm, row, changes_for(row, value))

    # Those that touch more

    async def set_slot(self, vm: Vm, slot: int) -> None:
        """A slot that another user VM holds is exchanged with it."""
        row = STORED_BY_NAME["slot"]

        async def decide() -> dict[Vm, Change]:
            wanted = swapped(await slots_of_user_vms(self.world.db), vm.uuid, slot)
            return {self.world.registry.add(one): changes_for(row, new)[0] for one, new in wanted.items()}

        for other, change in (await self.world.store.edit_several(decide)).items():
            if other.domid is not None:
                await self.world.input.set_slot(other.domid, int(str(change.value)))

    async def set_native_experience(self, vm: Vm, value: bool) -> None:
        """At most one VM has it: it is taken from all user VMs first."""
        for uuid in await native_user_vms(self.world.db):
            other = self.world.registry.add(uuid)
            if other is not vm:
                await self._write_plain(other, "native-experience", False)
        await self._write_plain(vm, "native-experience", value)

    async def set_start_on_boot(self, vm: Vm, value: bool) -> None:
        config = await self.world.store.config(vm)
        if value and config["gpu"] == HDX:
            await self._need_room_for_hdx(vm)
        await self._write_plain(vm, "start-on-boot", value)

    async def set_gpu(self, vm: Vm, value: str) -> None:
        config = await self.world.store.config(vm)
        if vm.state not in AT_REST:
            raise CannotTurnHdxWhenRunning
        if value == HDX and not config["pv-addons"]:
            raise CannotTurnHdxWithoutPvAddons
        if value == HDX and config["start-on-boot"]:
            await self._need_room_for_hdx(vm)
        await self._write_plain(vm, "gpu", value)

    async def _need_room_for_hdx(self, vm: Vm) -> None:
        """Raises SimultaneousAutostartAndHdx (200) if one more autostarted GPU VM is too many."""
        mode = await self.world.surfman.vgpu_mode()
        others = [config for config in await may_have_card(self.world.db) if config.uuid != vm.uuid]
        count = 1 + sum(1 for other in others if _is_autostarted_hdx(other))
        if count > (0 if mode is None else mode.max_vgpus):
            raise SimultaneousAutostartAndHdx


def _is_autostarted_hdx(config: VmConfig) -> bool:
    return bool(config.is_user_vm and config["gpu"] == HDX and config["start-on-boot"])


SPECIAL: dict[str, Setter] = {
    "slot": Editor.set_slot,
    "native-experience": Editor.set_native_experience,
    "start-on-boot": Editor.set_start_on_boot,
    "gpu": Editor.set_gpu,
}


# Properties that are views of the disk and nic lists


def cd_of(config: VmConfig) -> str:
    """File name in the first CD drive; empty for none and for the empty disc."""
    path = next((disk.path for disk in config.disks if disk.is_cd), "")
    name = PurePosixPath(path).name
    return "" if name == EMPTY_DISC else name


async def set_cd(world: World, vm: Vm, name: str) -> None:
    """Put a disc of the ISO folder into every CD drive."""
    if "/" in name or has_line_break(name) or name.startswith("."):
        raise BadRequest(f"cd cannot be {name[:60]!r}: not the name of a disc in the folder of discs")
    config = await world.store.config(vm)
    drives = [disk for disk in config.disks if disk.is_cd]
    folder = await world.db.read("/xenmgr/isos") or "/storage/isos"
    path = str(world.places.at(folder) / (name or EMPTY_DISC))
    await live.change_disc(world, vm, [disk for disk in drives if disk.enabled], path)
    await world.store.change(vm, [Change(f"config/disk/{disk.id}/path", path) for disk in drives])


def first_nic(config: VmConfig, *, wireless: bool) -> Nic | None:
    return next((nic for nic in config.nics if nic.wireless_driver is wireless), None)


async def set_first_network(world: World, vm: Vm, network: str, *, wireless: bool) -> None:
    """Change the network of the first such nic; nothing happens without one."""
    check_allowed(replace(NETWORK_ROW, name="wireless-network" if wireless else "wired-network"), network)
    nic = first_nic(await world.store.config(vm), wireless=wireless)
    if nic is not None:
        await set_nic_network(world, vm, nic.id, network)


async def set_nic_network(world: World, vm: Vm, nic: int, network: str) -> None:
    """At once, for a running VM, and stored.  Raises NoSuchNic (222), BadRequest for what is no network."""
    check_allowed(NETWORK_ROW, network)
    nic_in(vm, nic, (await world.store.config(vm)).tree)
    await live.switch_network(world, vm, nic, network)

    def decide(config: VmConfig) -> tuple[list[Change], None]:
        nic_in(vm, nic, config.tree)
        return [Change(f"config/nic/{nic}/network", network)], None

    await world.store.edit(vm, decide)


def portica_status(config: VmConfig, seamless: bool) -> int:
    """0 not installed, 1 enabled, 2 disabled.  Legacy."""
    if not config["portica-installed"]:
        return 0
    return 1 if seamless and flag(config.tree, "portica-enabled") else 2


def mac_of_first_nic(config: VmConfig) -> str:
    nics = nics_of(config.tree)
    return nics[0].actual_mac(config.uuid) if nics else ""


async def set_seamless_traffic(world: World, vm: Vm, value: bool) -> None:
    await world.store.change(vm, (Change("seamless-traffic", encode(value)),))
