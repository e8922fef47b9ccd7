# SPDX-License-Identifier: GPL-2.0-or-later
"""The properties of a VM that are worked out when asked for, and those that are views of its lists."""

import logging
from dataclasses import dataclass
from inspect import isawaitable
from pathlib import Path

from openxt_core.errors import OpenxtError
from openxt_core.ids import vm_path
from openxt_core.spec import Value
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
    if vm.is_hvm and vm.has_monitor and vm.domid is not None:
        hardware = await XenvmClient(world.bus, vm.uuid).acpi_state()
    return acpi_state(vm.state, hibernated=hibernated, hardware_state=hardware)


async def _acpi_state(it: VmSubject) -> int:
    return await current_acpi_state(it.world, it.vm, hibernated=it.config["hibernated"])


def _domid(it: VmSubject) -> int:
    return -1 if it.vm.domid is None else it.vm.domid


def _network(it: VmSubject, *, wireless: bool) -> str:
    nic = edits.first_nic(it.config, wireless=wireless)
    return "" if nic is None else nic.network


async def _memory_target(it: VmSubject) -> int:
    if it.vm.domid is None:
        return 0
    return await it.world.nodes.memory_target_kib(it.vm.domid) // 1024


async def _dependencies(it: VmSubject) -> list[str]:
    return [vm_path(uuid) for uuid in await dependencies(it.world, it.config)]


async def _neighbour(it: VmSubject, *, left: bool) -> int:
    """No VM stands beside this one where there is no display daemon."""
    if not it.world.peers.has(SURFMAN):
        return NOBODY
    return await neighbour(it.world, it.vm, it.config, left=left)


def _private_space(it: VmSubject) -> int:
    files = (disk.path for disk in it.config.disks if disk.type != "phy")
    return sum(_size_mib(Path(path)) for path in files if path)


def _size_mib(path: Path) -> int:
    try:
        return path.stat().st_size // MIB
    except OSError:
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
    Live("uuid",                "s",  lambda it: it.vm.uuid),
    Live("wired-network",       "s",  lambda it: _network(it, wireless=False), _set_wired),
    Live("wireless-network",    "s",  lambda it: _network(it, wireless=True), _set_wireless),
    Live("cd",                  "s",  lambda it: edits.cd_of(it.config), _set_cd),
    Live("mac",                 "s",  lambda it: edits.mac_of_first_nic(it.config)),
    Live("portica-enabled",     "i",  lambda it: edits.portica_status(it.config, _seamless(it))),
    Live("seamless-traffic",    "b",  _seamless, _set_seamless),
    Live("autostart-pending",   "b",  lambda it: it.vm.uuid in it.world.registry.autostart_pending),
    Live("memory-target",       "i",  _memory_target),
    Live("dependencies",        "ao", _dependencies),
    Live("seamless-mouse-left", "i",  lambda it: _neighbour(it, left=True)),
    Live("seamless-mouse-right", "i", lambda it: _neighbour(it, left=False)),
    Live("private-space",       "i",  _private_space),
)  # fmt: skip

ROWS: dict[str, Row[VmSubject]] = {row.name: row for row in (*STORED, *LIVE)}


async def live_values(it: VmSubject) -> dict[str, Value]:
    """The live properties; one that fails is logged and left out."""
    values: dict[str, Value] = {}
    for row in LIVE:
        try:
            value = row.read(it)
            values[row.name] = await value if isawaitable(value) else value
        except OpenxtError as error:
            log.warning("VM %s: %s cannot be read: %s", it.vm.uuid, row.name, error)
    return values
