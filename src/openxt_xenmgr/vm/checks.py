# SPDX-License-Identifier: GPL-2.0-or-later
"""Find out what `preflight` needs to know of a VM and its surroundings.  Asks and reads; decides nothing."""

from collections.abc import Collection
from pathlib import Path

from openxt_core.errors import IoError, OpenxtError
from openxt_core.ids import Uuid
from openxt_xenmgr.host import programs
from openxt_xenmgr.host.images import is_there, real_path
from openxt_xenmgr.links.nodes import HOST_STATE
from openxt_xenmgr.properties.config import setting
from openxt_xenmgr.properties.vm import HDX
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.backends import missing_backends
from openxt_xenmgr.vm.extraction import extraction_obstacles, kernel_file, sources
from openxt_xenmgr.vm.firewall import SETTING as FIREWALL
from openxt_xenmgr.vm.firewall import unreadable_rules
from openxt_xenmgr.vm.graph import NEEDED_KEY
from openxt_xenmgr.vm.measuring import FIRST_DISK, measuring_obstacles
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.ovf import transport_obstacles
from openxt_xenmgr.vm.pci_guard import obstacles
from openxt_xenmgr.vm.preflight import IDLE, Situation
from openxt_xenmgr.vm.tree import items
from openxt_xenmgr.world import World

VTD_ENABLED = "hvm_directio is enabled"


async def situation(world: World, vm: Vm, config: VmConfig, expected: Collection[Uuid] = ()) -> Situation:
    """How things stand now; VMs in `expected` will run by the time that it starts."""
    is_hdx = config["gpu"] == HDX
    mode = await world.surfman.vgpu_mode() if is_hdx else None
    return Situation(
        host_state=await world.nodes.xs.read(HOST_STATE) or IDLE,
        missing_backends=await missing_backends(world, config.nics, expected),
        missing_needed=_missing_needed(world, config),
        running=await _rivals(world, vm) if _has_rivals(config) else (),
        max_vgpus=None if mode is None else mode.max_vgpus,
        has_vtd=not is_hdx or VTD_ENABLED in await programs.output_of("hvm-info"),
        has_kernel=_has_kernel(world, config),
        devices=await obstacles(world, vm, config),
        broken_v4v_rules=unreadable_rules(config) if await setting(world, FIREWALL) else (),
        disks=_disk_obstacles(world, config) + transport_obstacles(config),
    )


def _disk_obstacles(world: World, config: VmConfig) -> list[OpenxtError]:
    """What measuring, and taking out a kernel, would say without looking into any disk."""
    found = measuring_obstacles(config) + extraction_obstacles(config)
    if found:
        return found
    read = {source.disk for source in sources(config).values()} | (
        {FIRST_DISK} if config["measured"] else set()
    )
    paths = [real_path(world.places, disk.path) for disk in config.disks if disk.id in read]
    return [IoError(f"IO error: {path}: there is no such disk image") for path in paths if not is_there(path)]


def _has_kernel(world: World, config: VmConfig) -> bool:
    """Whether anything says what to boot.  A saved guest brings its kernel with it."""
    if config.is_hvm or config["kernel"] or config["kernel-extract"]:
        return True
    image = config["start-from-suspend-image"]
    return is_there(kernel_file(world.places, config.uuid)) or bool(image and is_there(Path(image)))


def _missing_needed(world: World, config: VmConfig) -> tuple[str, ...]:
    named = items(config.tree, NEEDED_KEY)
    return tuple(word for word in named if world.registry.find(word.lower()) is None)


def _has_rivals(config: VmConfig) -> bool:
    return bool(config["gpu"] == HDX or config["amt-pt"] or config["oem-acpi-features"])


async def _rivals(world: World, vm: Vm) -> tuple[VmConfig, ...]:
    others = [other for other in world.registry if other.domid is not None and other is not vm]
    return tuple([await world.store.config_or_none_set(other) for other in others])
