# SPDX-License-Identifier: GPL-2.0-or-later
"""The properties of a VM that are worked out when asked for, and those that are views of its lists."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable

from openxt_core.errors import OpenxtError
from openxt_core.ids import Domid, vm_path
from openxt_core.spec import MaybeAwaitable, Value
from openxt_xenmgr.host.facts import MIB, is_mount_point_named
from openxt_xenmgr.links.surfman import NAME as SURFMAN
from openxt_xenmgr.links.xenvm import XenvmClient
from openxt_xenmgr.properties.table import Live, Row
from openxt_xenmgr.properties.vm import STORED
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm import edits
from openxt_xenmgr.vm.backends import dependencies
from openxt_xenmgr.vm.launch import seamless_traffic
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.neighbours import NOBODY, neighbour
from openxt_xenmgr.vm.states import State, acpi_state, public
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VmSubject:
    """A VM whose property is asked for: what is stored, and how it is now."""

    world: World
    vm: Vm
    config: VmConfig


def is_locked(config: VmConfig) -> bool:
    """True when the VM belongs to a user whose keys are not mounted."""
    user = config["crypto-user"]
    return bool(user) and not is_mount_point_named(f"/config/sec/s-{user}")


def _state(it: VmSubject) -> str:
    if it.vm.state is State.SHUTDOWN and is_locked(it.config):
        return "locked"
    return public(it.vm.state)


async def current_acpi_state(world: World, vm: Vm, *, hibernated: bool) -> int:
    """The ACPI state that clients see; only an HVM guest's monitor needs to be asked."""
    hardware = 0
    if _has_acpi_hardware(vm):
        hardware = await XenvmClient(world.bus, vm.uuid).acpi_state()
    return acpi_state(vm.state, hibernated=hibernated, hardware_state=hardware)


def _has_acpi_hardware(vm: Vm) -> bool:
    return vm.is_hvm and vm.has_monitor and vm.domid is not None


def _acpi_state(it: VmSubject) -> MaybeAwaitable[int]:
    hibernated = it.config["hibernated"]
    if _has_acpi_hardware(it.vm):
        return current_acpi_state(it.world, it.vm, hibernated=hibernated)
    return acpi_state(it.vm.state, hibernated=hibernated, hardware_state=0)


def _domid(it: VmSubject) -> int:
    return -1 if it.vm.domid is None else it.vm.domid


def _network(it: VmSubject, *, wireless: bool) -> str:
    nic = edits.first_nic(it.config, wireless=wireless)
    return "" if nic is None else nic.network


def _memory_target(it: VmSubject) -> MaybeAwaitable[int]:
    return 0 if it.vm.domid is None else _target_mib(it.world, it.vm.domid)


async def _target_mib(world: World, domid: Domid) -> int:
    return await world.nodes.memory_target_kib(domid) // 1024


def _dependencies(it: VmSubject) -> MaybeAwaitable[list[str]]:
    known = it.world.graph.known_dependencies(it.config)
    return _asked_dependencies(it) if known is None else list(map(vm_path, known))


async def _asked_dependencies(it: VmSubject) -> list[str]:
    return [vm_path(uuid) for uuid in await dependencies(it.world, it.config)]


def _neighbour(it: VmSubject, *, left: bool) -> MaybeAwaitable[int]:
    """No VM stands beside this one where there is no display daemon."""
    return neighbour(it.world, it.vm, it.config, left=left) if it.world.peers.has(SURFMAN) else NOBODY


def _private_space(it: VmSubject) -> int:
    files = [disk.path for disk in it.config.disks if disk.type != "phy" and disk.path]
    return sum(map(_size_mib, files))


def _size_mib(path: str) -> int:
    try:
        return os.stat(path).st_size // MIB  # noqa: PTH116  (for each GetAll; a Path costs three times as much)
    except (OSError, ValueError):
        return 0


def _seamless(it: VmSubject) -> bool:
    return seamless_traffic(it.world.places, it.config)


async def _set_wired(it: VmSubject, value: str) -> None:
    await edits.set_first_network(it.world, it.vm, value, wireless=False)


async def _set_wireless(it: VmSubject, value: str) -> None:
    await edits.set_first_network(it.world, it.vm, value, wireless=True)


async def _set_cd(it: VmSubject, value: str) -> None:
    await edits.set_cd(it.world, it.vm, value)


async def _set_seamless(it: VmSubject, value: bool) -> None:
    await edits.set_seamless_traffic(it.world, it.vm, value)


LIVE: tuple[Live[VmSubject], ...] = (
    #    name                   type  read                               write
    Live("state",               "s",  _state),
    Live("acpi-state",          "i",  _acpi_state),
    Live("domid",               "i",  _domid),
    Live("uuid",                "s",  lambda it: it.vm.uuid, of_config=True),
    Live("wired-network",       "s",  lambda it: _network(it, wireless=False), _set_wired, of_config=True),
    Live("wireless-network",    "s",  lambda it: _network(it, wireless=True), _set_wireless, of_config=True),
    Live("cd",                  "s",  lambda it: edits.cd_of(it.config), _set_cd, of_config=True),
    Live("mac",                 "s",  lambda it: edits.mac_of_first_nic(it.config), of_config=True),
    Live("portica-enabled",     "i",  lambda it: edits.portica_status(it.config, _seamless(it)),
         of_config=True),
    Live("seamless-traffic",    "b",  _seamless, _set_seamless, of_config=True),
    Live("autostart-pending",   "b",  lambda it: it.vm.uuid in it.world.registry.autostart_pending),
    Live("memory-target",       "i",  _memory_target),
    Live("dependencies",        "ao", _dependencies),
    Live("seamless-mouse-left", "i",  lambda it: _neighbour(it, left=True)),
    Live("seamless-mouse-right", "i", lambda it: _neighbour(it, left=False)),
    Live("private-space",       "i",  _private_space),
)  # fmt: skip

ROWS: dict[str, Row[VmSubject]] = {row.name: row for row in (*STORED, *LIVE)}


OF_CONFIG = tuple(row for row in LIVE if row.of_config)
OF_THE_MOMENT = tuple(row for row in LIVE if not row.of_config)


def values_at_hand(it: VmSubject, rows: Sequence[Live[VmSubject]]) -> dict[str, MaybeAwaitable[Value]]:
    """These properties, or what to wait for; one that fails is logged and left out."""
    values: dict[str, MaybeAwaitable[Value]] = {}
    for row in rows:
        try:
            values[row.name] = row.read(it)
        except OpenxtError as error:
            _log_failure(it, row.name, error)
    return values


async def waited_for(it: VmSubject, values: Mapping[str, MaybeAwaitable[Value]]) -> dict[str, Value]:
    """What `values_at_hand` gave, when all of it has come."""
    found: dict[str, Value] = {}
    for name, value in values.items():
        try:
            found[name] = await value if isawaitable(value) else value
        except OpenxtError as error:
            _log_failure(it, name, error)
    return found


def _log_failure(it: VmSubject, name: str, error: OpenxtError) -> None:
    log.warning("VM %s: %s cannot be read: %s", it.vm.uuid, name, error)
