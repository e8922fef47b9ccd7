# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM's configuration and the host's facts → the lines that xenvm reads.  Pure.

Reads no file and asks nobody: whoever calls finds the facts out first.  Order and content are the
original's, compared with golden files; what differs stands in docs/compat.md (no empty line for a
refused CD drive, `virt-type`).  Source: OpenXT xenmgr, 2015.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from openxt_core.errors import BadRequest
from openxt_xenmgr.properties.vm import HDX
from openxt_xenmgr.vm.model import CDROM, Disk, Nic, VmConfig, free_device, time_offset_of
from openxt_xenmgr.vm.tree import items, maybe_number, maybe_text

PRELUDE = ("power-management=2", "startup=poweroff", "extra-local-watch=power-state", "on_restart=preserve")

# Passed on as they are, each only if its key exists.  The order is the original's; virt-type is ours.
VERBATIM = (
    "stubdom-memory",
    "stubdom-cmdline",
    "serial",
    "flask-label",
    "startup",
    "passthrough-mmio",
    "passthrough-io",
    "v4v",
    "vfb",
    "vkbd",
    "vsnd",
    "hap",
    "vcpus",
    "acpi-pt",
    "initrd",
    "cmdline",
    "boot",
    "display",
    "nx",
    "viridian",
    "apic",
    "acpi",
    "pae",
    "hvm",
    "virt-type",
    "notify",
)

WIRELESS_TYPES = frozenset({"wifi", "modem"})


@dataclass(frozen=True, slots=True)
class Network:
    """What the network daemon knows of a network."""

    bridge: str = ""
    type: str = ""


@dataclass(frozen=True, slots=True)
class PciDevice:
    """A host device to hand over."""

    address: str  # dddd:bb:ss.f
    guest_slot: int | None = None
    msi_translate: bool = False


@dataclass(frozen=True, slots=True)
class Vgpu:
    """surfman's answer for a VM that may have the graphics card."""

    has_devices: bool


@dataclass(frozen=True)
class LaunchFacts:
    """What the lines need besides the VM's own configuration."""

    kernel_path: str  # of a PV or PVH guest that names none
    ovf_iso: str = ""  # of the appliance's settings; empty: none
    version: str = ""
    vendor_manufacturer: str = "Citrix"
    vendor_product: str = "XenClient"
    has_xengfx: bool = False
    seamless_traffic: bool = False
    key_dirs: tuple[str, ...] = ()
    absent_disks: frozenset[int] = frozenset()  # vhd files and discs that are not there
    networks: tuple[tuple[str, Network], ...] = ()  # by object path
    backends: tuple[tuple[int, int], ...] = ()  # nic id → domain id of its backend
    pci: tuple[PciDevice, ...] = ()
    vgpu: Vgpu | None = None  # None: surfman did not answer, or was not asked
    cd_drives: tuple[str, ...] = ()  # h:c:t:l
    cd_exclusive: bool = True
    smbios_oem_types: tuple[int, ...] = ()
    oem_manufacturer: str = ""
    stubdom_uuid: str = ""


def config_lines(vm: VmConfig, facts: LaunchFacts) -> tuple[str, ...]:
    """The lines, without line ends.  Raises BadRequest naming a value with a line break in it."""
    lines = (
        *_identity(vm, facts),
        *_disks(vm, facts),
        *_nics(vm, facts),
        *map(_pci_line, facts.pci),
        *_graphics(vm, facts),
        *_platform(vm, facts),
        *_firmware(vm, facts),
        *_extras(vm, facts),
    )
    for line in lines:
        if "\n" in line or "\r" in line:
            raise BadRequest(f"the value of {line.split('=')[0]!r} has a line break in it")
    return lines


def _word(value: bool) -> str:
    return "true" if value else "false"


def _identity(vm: VmConfig, facts: LaunchFacts) -> Iterator[str]:
    yield f"uuid={vm.uuid}"
    yield from PRELUDE
    yield f"qemu-dm-path={vm['qemu-dm-path']}"
    yield f"qemu-dm-timeout={vm['qemu-dm-timeout']}"
    yield f"xci-cpuid-signature={_word(vm['xci-cpuid-signature'])}"
    if vm["oem-acpi-features"]:
        yield "oem-features=1"
    if not vm.is_user_vm:
        yield f"name={vm.name}"
    if not vm.is_hvm:
        yield f"kernel={vm['kernel'] or facts.kernel_path}"


def _disks(vm: VmConfig, facts: LaunchFacts) -> Iterator[str]:
    if facts.ovf_iso:
        settings = Disk(-1, facts.ovf_iso, "file", "r", free_device(vm.disks), CDROM)
        yield _disk_line(settings, facts.key_dirs)
    for disk in vm.disks:
        if disk.enabled and disk.id not in facts.absent_disks:
            yield _disk_line(disk, facts.key_dirs)
        elif disk.enabled and disk.devtype == CDROM:
            yield _disk_line(replace(disk, path="", type="file"), facts.key_dirs)  # the drive, without a disc


def _disk_line(disk: Disk, key_dirs: tuple[str, ...]) -> str:
    keys = f":key-dir={','.join(key_dirs)}" if disk.type == "vhd" and key_dirs else ""
    fields = (disk.path, disk.type, disk.device, disk.mode, disk.devtype, disk.snapshot)
    _refuse(":", f"disk {disk.id}", fields)
    return f"disk={':'.join(fields)}:{keys}"


def _nics(vm: VmConfig, facts: LaunchFacts) -> Iterator[str]:
    networks, backends = dict(facts.networks), dict(facts.backends)
    for nic in vm.nics:
        network = networks.get(nic.network)
        if nic.enabled and _may_use(vm, network):
            yield _vif_line(vm, nic, network, backends.get(nic.id, 0))


def _may_use(vm: VmConfig, network: Network | None) -> bool:
    is_wireless = network is not None and network.type in WIRELESS_TYPES
    return bool(vm["policy-wireless-networking" if is_wireless else "policy-wired-networking"])


def _vif_line(vm: VmConfig, nic: Nic, network: Network | None, backend_domid: int) -> str:
    fields = [f"id={nic.id}", f"network={nic.network}"]
    if network is not None:
        fields.append(f"bridge={network.bridge}")
    fields.append(f"backend-domid={backend_domid}")
    if nic.wireless_driver and vm["os"] != "linux":
        fields.append("wireless=true")
    fields.append(f"mac={nic.actual_mac(vm.uuid)}")
    _refuse(",", f"nic {nic.id}", fields)
    return "vif=" + ",".join(fields)


def _refuse(separator: str, owner: str, fields: Iterable[str]) -> None:
    """Raises BadRequest for a value that xenvm would read as two."""
    for field in fields:
        if separator in field:
            raise BadRequest(f"{owner}: {field!r} must not hold {separator!r}")


def _pci_line(device: PciDevice) -> str:
    slot = "" if device.guest_slot is None else f",guest_slot={device.guest_slot}"
    translate = ",msitranslate=1" if device.msi_translate else ""
    return f"pci=0,bind,{device.address}{slot}{translate}"


def _graphics(vm: VmConfig, facts: LaunchFacts) -> Iterator[str]:
    adapter = "extra-hvm=xengfx=" if facts.has_xengfx else "extra-hvm=std-vga="
    if vm["gpu"] == HDX and (facts.vgpu is None or facts.vgpu.has_devices):
        yield "extra-hvm=gfx_passthru="
        if facts.vgpu is not None:
            yield "extra-hvm=surfman="
        return
    if vm["gpu"] == HDX:
        yield "extra-hvm=vgpu"
    yield adapter
    if vm["gpu"] == HDX or not vm["display"].startswith("vnc"):
        yield "extra-hvm=surfman="


def _platform(vm: VmConfig, facts: LaunchFacts) -> Iterator[str]:
    for option in items(vm.tree, "config/extra-hvm"):
        yield f"extra-hvm={option}"
    offset = time_offset_of(vm.tree)
    if offset is not None:
        yield f"time-offset={offset}"
    videoram = maybe_number(vm.tree, "config/videoram")
    yield f"videoram={(16 if vm.is_hvm else 0) if videoram is None else videoram}"
    yield from _cd_drives(vm, facts)
    yield f"memory={vm['memory']}"
    yield f"memory-max={vm['memory-static-max']}"


def _cd_drives(vm: VmConfig, facts: LaunchFacts) -> Iterator[str]:
    if not vm["policy-cd-access"]:
        return
    option = "cdrom-pt" if vm["policy-cd-recording"] else "cdrom-pt-ro"
    exclusive = "-exclusive" if facts.cd_exclusive else ""
    for drive in facts.cd_drives:
        yield f"extra-hvm={option}{exclusive}=/dev/bsg/{drive}"


def _firmware(vm: VmConfig, facts: LaunchFacts) -> Iterator[str]:
    if vm["smbios-pt"] and facts.smbios_oem_types:
        yield f"smbios-oem-types-pt={','.join(map(str, facts.smbios_oem_types))}"
        yield "smbios-pt=true"
    sound = maybe_text(vm.tree, "config/sound")
    if vm["policy-audio-access"] and sound is not None:
        yield f"sound={sound}"
    if not vm["policy-audio-recording"]:
        yield "extra-hvm=disable-audio-rec="
    cores = vm["cores-per-socket"]
    yield f"cores-per-socket={cores if cores > 1 else vm['vcpus']}"
    yield f"bios-string=xenvendor-manufacturer={facts.vendor_manufacturer}"
    yield f"bios-string=xenvendor-product={facts.vendor_product} {facts.version}"
    yield f"bios-string=xenvendor-seamless-hint={int(facts.seamless_traffic)}"
    if vm["stubdom"]:
        yield f"stubdom={facts.stubdom_uuid}"


def _extras(vm: VmConfig, facts: LaunchFacts) -> Iterator[str]:
    for mask in filter(None, (part.strip() for part in vm["cpuid"].split(";"))):
        yield f"cpuid={mask}"
    if not vm["usb-enabled"]:
        yield "usb=false"
    if vm["restrict-display-depth"]:
        yield "platform=restrictdisplaydepth=1"
    if vm["restrict-display-res"]:
        yield "platform=restrictdisplayres=1"
    for key in VERBATIM:
        value = maybe_text(vm.tree, f"config/{key}")
        if value is not None:
            yield f"{key}={value}"
    yield from items(vm.tree, "config/extra-xenvm")
    if vm["acpi-pt"]:
        yield f"bios-string=oem-installation-manufacturer={facts.oem_manufacturer}"
    yield f"hpet={int(vm['hpet'])}"
    yield f"timer-mode={vm['timer-mode']}"
    if vm["nestedhvm"]:
        yield "nested=true"
