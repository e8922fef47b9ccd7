# SPDX-License-Identifier: GPL-2.0-or-later
"""DomainConfig → the command line of a stock QEMU that serves the domain.  Pure.

The options are those that libxl 4.17 gives; the meaning of the config's keys is the original's.
Source: QEMU 7.2, libxl 4.17; OpenXT xenops, 2015, for which key turns into what.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openxt_core.ids import Domid, Uuid
from openxt_xen.hypervisor import Kind
from openxt_xenvm.config.model import Disk, DomainConfig, Nic, Pair, PciAddress, PciDevice, Screen
from openxt_xenvm.domain.hardware import Hardware
from openxt_xenvm.domain.memory import mib_up
from openxt_xenvm.domain.video import Vga, vga_of, video_mib

DEFAULT_NIC_MODEL = "rtl8139"
DEFAULT_SERIAL = "pty"
NO_SERIAL = "none"
VNC_ADDRESS = "127.0.0.1"
VNC_DISPLAYS = 99

IDE_UNITS = 4
PCI_SLOTS = 32

SOUND_CARDS = {
    "ac97": ("AC97",),
    "es1370": ("ES1370",),
    "sb16": ("sb16",),
    "hda": ("intel-hda", "hda-duplex"),
    "ich6": ("intel-hda", "hda-duplex"),
}
"""`sound` → QEMU's devices; the last of them has the sound."""

NIC_MODELS = frozenset(
    {"rtl8139", "e1000", "e1000e", "ne2k_pci", "pcnet", "i82551", "i82557b", "virtio-net-pci"}
)

FOREIGN_OPTIONS = frozenset(
    {"std-vga", "xengfx", "vgpu", "surfman", "gfx_passthru", "disable-audio-rec"}
    | {"cdrom-pt", "cdrom-pt-ro", "cdrom-pt-exclusive", "cdrom-pt-ro-exclusive"}
)
"""`extra-hvm` words that OpenXT's own device models know and a stock QEMU would end on."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What QEMU loads itself, in place of a boot device.  An empty kernel: it does not."""

    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""


@dataclass(frozen=True, slots=True)
class QemuPlace:
    """Where QEMU works."""

    domid: Domid
    uuid: Uuid
    name: str
    socket: Path  # its monitor
    nic_model: str = ""  # of cards that name none
    incoming: str = ""  # a file with the state of its devices, as another QEMU left it


def boot_of(config: DomainConfig, hardware: Hardware) -> Boot:
    return Boot(config.kernel, config.initrd or "", config.cmdline) if hardware.is_direct else Boot()


def emulated_nics(config: DomainConfig) -> tuple[Nic, ...]:
    """Those with a backend in dom0: others' frames do not come by."""
    return tuple(nic for nic in config.nic if nic.backend_domid == 0) if config.kind is Kind.HVM else ()


def tap_name(domid: Domid, nic: Nic) -> str:
    """dom0's end of an emulated card."""
    return f"tap{domid}.{nic.id}"


def command_line(config: DomainConfig, place: QemuPlace, boot: Boot) -> tuple[str, ...]:
    """All words after the program's name."""
    return (
        *_machine(config, place),
        *_display(config),
        *_serial(config),
        *(_hvm(config, place, boot) if config.kind is Kind.HVM else ()),
        *(("-incoming", f"exec:cat {shlex.quote(place.incoming)}") if place.incoming else ()),
        *_extra(config.model_options),
    )


def _machine(config: DomainConfig, place: QemuPlace) -> Iterator[str]:
    yield from ("-xen-domid", str(place.domid))
    if config.kind is Kind.HVM:
        yield from ("-machine", "xenfv,suppress-vmdesc=on", "-m", str(_ram_mib(config)))
    else:
        yield from ("-xen-attach", "-machine", "xenpv", "-m", str(mib_up(config.memory_kib or 0)))
    yield from ("-name", place.name.replace(",", ",,"), "-uuid", place.uuid)
    yield from ("-no-shutdown", "-nodefaults", "-no-user-config")
    yield from ("-chardev", f"socket,id=monitor,path={_doubled(str(place.socket))},server=on,wait=off")
    yield from ("-mon", "chardev=monitor,mode=control")


def _ram_mib(config: DomainConfig) -> int:
    return mib_up(config.static_max_kib or 0) - video_mib(config)


def _doubled(text: str) -> str:
    """A comma ends a value in QEMU's options, two stand for one."""
    return text.replace(",", ",,")


def _display(config: DomainConfig) -> Iterator[str]:
    vga, shown = vga_of(config), config.display
    yield from ("-display", "none")
    if config.kind is Kind.HVM and vga is not Vga.NONE:
        yield from ("-device", f"{vga},vgamem_mb={video_mib(config)}")
    if shown.screen is Screen.VNC:
        more = f",to={VNC_DISPLAYS}" if shown.use_port_unused or not shown.port else ""
        yield from ("-vnc", f"{VNC_ADDRESS}:{shown.port}{more}", "-k", shown.keymap)


def _serial(config: DomainConfig) -> Iterator[str]:
    where = config.serial or DEFAULT_SERIAL
    if config.kind is Kind.HVM and where != NO_SERIAL:
        yield from ("-serial", where)


def _hvm(config: DomainConfig, place: QemuPlace, boot: Boot) -> Iterator[str]:
    if boot.kernel:
        yield from ("-kernel", boot.kernel, "-append", boot.cmdline)
        yield from ("-initrd", boot.initrd) if boot.initrd else ()
    yield from ("-boot", f"order={config.boot}") if config.boot else ()
    yield from ("-smp", f"{config.vcpus},maxcpus={config.vcpus}") if config.vcpus > 1 else ()
    yield from () if config.acpi else ("-no-acpi",)
    yield from _sound(config.sound)
    yield from _nics(emulated_nics(config), place)
    yield from _passed(config.pci)
    for disk in config.disk:
        yield from _drive(disk)


def _sound(name: str | None) -> Iterator[str]:
    """The host's own sound belongs to another daemon: the card is there, and silent."""
    *bridges, card = SOUND_CARDS.get((name or "").lower(), ("",))
    if card:
        yield from ("-audiodev", "none,id=sound")
        for device in bridges:
            yield from ("-device", device)
        yield from ("-device", f"{card},audiodev=sound")


def _nics(nics: Sequence[Nic], place: QemuPlace) -> Iterator[str]:
    for nic in nics:
        model = nic.model or place.nic_model or DEFAULT_NIC_MODEL
        tap = f"tap,id=net{nic.id},ifname={tap_name(place.domid, nic)},script=no,downscript=no"
        yield from ("-netdev", tap, "-device", f"{model},netdev=net{nic.id},mac={nic.mac}")


def _passed(devices: Sequence[PciDevice]) -> Iterator[str]:
    """QEMU shows the guest each device's configuration space; Xen has given it the rest."""
    for device in devices:
        words = f"xen-pci-passthrough,id={pci_id(device.address)},hostaddr={device.address}"
        yield from ("-device", f"{words}{_guest_slot(device)}")


def pci_id(address: PciAddress) -> str:
    """Its name in QEMU's monitor, where a colon cannot be."""
    return f"pci-{str(address).replace(':', '_')}"


def _guest_slot(device: PciDevice) -> str:
    if device.guest_slot is not None:
        return f",addr={device.guest_slot:x}"
    if device.vdevfn is not None:
        return f",addr={device.vdevfn >> 3:x}.{device.vdevfn & 7}"
    return ""  # QEMU's choice


def is_emulated(disk: Disk) -> bool:
    """Whether QEMU shows it to the guest's BIOS, beside the backend that serves its driver."""
    return disk.virtpath.startswith("hd") and ide_unit(disk) < IDE_UNITS


def ide_unit(disk: Disk) -> int:
    return ord(disk.virtpath[2]) - ord("a")


def drive_id(disk: Disk) -> str:
    """Its name in QEMU's monitor."""
    return f"ide{ide_unit(disk)}"


def _drive(disk: Disk) -> Iterator[str]:
    if not is_emulated(disk):
        return
    media = "cdrom" if disk.is_cdrom else "disk"
    words = [f"if=ide,index={ide_unit(disk)},media={media},id={drive_id(disk)},cache=writeback"]
    if disk.path:
        words.append(f"format=raw,file={_doubled(disk.path)}")
    if disk.is_cdrom:
        words.append("readonly=on")
    yield from ("-drive", ",".join(words))


def _extra(options: Sequence[Pair]) -> Iterator[str]:
    """In the order of the config."""
    for option in options:
        if option.name not in FOREIGN_OPTIONS:
            yield f"-{option.name}"
            yield from (option.value,) if option.has_value else ()


def mistakes(config: DomainConfig) -> Iterator[str]:
    """What of the config a stock QEMU cannot do: all of it, each naming its key."""
    if config.kind is not Kind.HVM:
        return
    for nic in config.nic:
        if nic.model and nic.model not in NIC_MODELS:
            yield f"nic {nic.id}: QEMU has no card {nic.model!r}, but {', '.join(sorted(NIC_MODELS))}"
    if config.sound and config.sound.lower() not in SOUND_CARDS:
        yield f"sound: QEMU has no card {config.sound!r}, but {', '.join(SOUND_CARDS)}"
    for disk in config.disk:
        if is_emulated(disk) and not disk.writable and not disk.is_cdrom:
            yield f"disk {disk.virtpath}: an emulated disk cannot be read-only; use an xvd name or a cdrom"
    for device in config.pci:
        if (device.guest_slot or 0) >= PCI_SLOTS or (device.vdevfn or 0) >> 3 >= PCI_SLOTS:
            yield f"pci {device.address}: the guest's bus has {PCI_SLOTS} slots"
    if set(config.boot) - set("acdn"):
        yield f"boot={config.boot!r} has other letters than a, c, d, n"


def without_effect(config: DomainConfig) -> Iterator[str]:
    """Options for OpenXT's own device models: worth a warning."""
    silent = FOREIGN_OPTIONS - {"std-vga"}
    yield from (f"extra-hvm={option}" for option in config.model_options if option.name in silent)
