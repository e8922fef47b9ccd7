# SPDX-License-Identifier: GPL-2.0-or-later
"""Find out what a VM's start needs to know besides its configuration.  Asks and reads; what PCI
devices it may have `pci_guard` decides."""

import asyncio
import logging
from pathlib import Path, PurePosixPath

from openxt_core.places import Places
from openxt_xenmgr.host import facts as host
from openxt_xenmgr.host.drives import cd_drives
from openxt_xenmgr.host.images import is_there
from openxt_xenmgr.host.pci import inventory
from openxt_xenmgr.properties.vm import HDX
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.backends import backend_domids
from openxt_xenmgr.vm.extraction import kernel_file
from openxt_xenmgr.vm.key_folders import key_folders
from openxt_xenmgr.vm.model import CDROM, EMPTY_DISC, VmConfig
from openxt_xenmgr.vm.ovf import SETTING as OVF_TRANSPORT
from openxt_xenmgr.vm.ovf import iso_file
from openxt_xenmgr.vm.pci_guard import hand_over, standing
from openxt_xenmgr.vm.tree import flag, parse_int
from openxt_xenmgr.vm.xenvm_config import LaunchFacts, Network, PciDevice, Vgpu
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

CD_EXCLUSIVE_KEY = "/cd-exclusive"
SMBIOS_TYPES_KEY = "/xenmgr/smbios-oem-types-pt"
DEFAULT_SMBIOS_TYPES = "129,130,131"
DELL_SMBIOS_TYPE = 177


async def gather_facts(world: World, vm: Vm, config: VmConfig) -> LaunchFacts:
    """All of it, with the backends of the nics as domain ids; PCI devices are noted as handed over."""
    places = world.places
    networks = await _networks(world, config)
    drives = cd_drives(places) if config["policy-cd-access"] else []
    return LaunchFacts(
        kernel_path=str(kernel_file(places, vm.uuid)),
        ovf_iso=str(iso_file(places, vm.uuid)) if config[OVF_TRANSPORT] else "",
        version=host.build_information(places).get("version", ""),
        has_xengfx=places.at("/config/xengfx").exists(),
        seamless_traffic=seamless_traffic(places, config),
        key_dirs=await _key_dirs(world, config),
        absent_disks=_absent_disks(config),
        networks=networks,
        backends=await backend_domids(world, config.nics),
        vgpu=await _vgpu(world, config),
        pci=_merged(await _gpu_devices(world, config), await hand_over(world, vm, config)),
        cd_drives=tuple(one.id for one in drives),
        cd_exclusive=not drives or flag({"it": await world.db.read(CD_EXCLUSIVE_KEY)}, "it", True),
        smbios_oem_types=await _smbios_types(world, config),
        oem_manufacturer=await host.dmi("system-manufacturer") if config["acpi-pt"] else "",
        stubdom_uuid=vm.stubdom_uuid,
    )


def seamless_traffic(places: Places, config: VmConfig) -> bool:
    """Service VMs never have it; a user VM's own setting wins over the host's."""
    default = host.capability(places, "seamless-traffic-default") == "true"
    return config.is_user_vm and flag(config.tree, "seamless-traffic", default)


async def _networks(world: World, config: VmConfig) -> tuple[tuple[str, Network], ...]:
    wanted = dict.fromkeys(nic.network for nic in config.nics if nic.enabled)
    return tuple((await world.network.describe(tuple(wanted))).items())


async def _key_dirs(world: World, config: VmConfig) -> tuple[str, ...]:
    return await key_folders(world, config) if any(disk.type == "vhd" for disk in config.disks) else ()


def _absent_disks(config: VmConfig) -> frozenset[int]:
    """vhd images are left out, discs leave their drives empty, as in a running VM."""
    may_be_absent = (disk for disk in config.disks if disk.type == "vhd" or disk.devtype == CDROM)
    absent = [disk for disk in may_be_absent if not is_there(Path(disk.path))]
    for disk in absent:
        if disk.enabled and disk.devtype == CDROM and PurePosixPath(disk.path).name != EMPTY_DISC:
            log.warning("VM %s: drive %s is empty: there is no %r", config.uuid, disk.device, disk.path)
    return frozenset(disk.id for disk in absent)


async def _vgpu(world: World, config: VmConfig) -> Vgpu | None:
    if not config.is_hvm or config["gpu"] != HDX:
        return None
    mode = await world.surfman.vgpu_mode()
    return None if mode is None else Vgpu(bool(mode.max_vgpus and mode.addresses))


def _merged(gpu: tuple[PciDevice, ...], ruled: tuple[PciDevice, ...]) -> tuple[PciDevice, ...]:
    """Those of the graphics card in front; no device twice."""
    taken = {device.address for device in gpu}
    return (*gpu, *(device for device in ruled if device.address not in taken))


async def _gpu_devices(world: World, config: VmConfig) -> tuple[PciDevice, ...]:
    if not config.is_hvm or config["gpu"] != HDX:
        return ()
    mode = await world.surfman.vgpu_mode()
    if mode is None or not mode.max_vgpus:
        return ()
    return tuple(_device(address, mode.msi_translate) for address in mode.addresses)


async def passed_devices(world: World, vm: Vm) -> list[dict[str, str]]:
    """What the VM would have if it started now and all was confirmed, ascending address."""
    config = await world.store.config(vm)
    ruled = (await standing(world, vm, config)).choice.devices
    wanted = {device.address for device in ruled}
    wanted |= {device.address for device in await _gpu_devices(world, config)}
    there = await asyncio.to_thread(inventory, world.places) if wanted else []
    return [device.record() for device in there if device.address in wanted]


def _device(address: str, msi_translate: bool) -> PciDevice:
    bdf, _, slot = address.partition("@")
    return PciDevice(bdf, parse_int(slot), msi_translate)


async def _smbios_types(world: World, config: VmConfig) -> tuple[int, ...]:
    if not config["smbios-pt"]:
        return ()
    stored = await world.db.read(SMBIOS_TYPES_KEY)
    numbers = [parse_int(word) for word in (stored or DEFAULT_SMBIOS_TYPES).split(",")]
    found = [number for number in numbers if number is not None]
    if not stored and (await host.dmi("system-manufacturer")).lower().startswith("dell"):
        found.append(DELL_SMBIOS_TYPE)
    return tuple(found)
