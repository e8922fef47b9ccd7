# SPDX-License-Identifier: GPL-2.0-or-later
"""What a config file says, as frozen values.  Pure; checks nothing: parsing has done that.

Memory is in KiB here; the file says MiB.  `None` means the key was not given.
"""

import enum
from dataclasses import dataclass

from openxt_core.ids import Uuid
from openxt_xen.hypervisor import Kind


class Action(enum.StrEnum):
    """What follows when the guest ends by itself."""

    RESTART = "restart"
    DESTROY = "destroy"
    PRESERVE = "preserve"


class StartupMode(enum.StrEnum):
    """What a monitor does with its domain when it comes up."""

    START = "start"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Startup:
    mode: StartupMode = StartupMode.START
    file: str = ""
    delete: bool = False  # the image, after it was restored


class Screen(enum.StrEnum):
    NONE = "none"
    VNC = "vnc"
    SDL = "sdl"
    INTEL = "intel"


@dataclass(frozen=True, slots=True)
class Display:
    screen: Screen = Screen.VNC
    detail: str = ""  # sdl and intel only
    port: int = 0
    keymap: str = "en-us"
    use_port_unused: bool = False


class Carrier(enum.StrEnum):
    """How notifications travel."""

    DBUS = "dbus"
    UNIX = "unix"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class NotifyTo:
    carrier: Carrier
    address: str = ""  # unix: a path; tcp: a numeric IPv4 address; dbus: ignored text
    port: int = 0


@dataclass(frozen=True, slots=True)
class Disk:
    path: str
    type: str  # phy, file, qcow, vhd, aio, vdi
    virtpath: str
    writable: bool
    is_cdrom: bool
    snapshot: str = ""
    backend_domid: int = 0
    key_file: str = ""
    cipher: str = "aes-xts-plain"
    key_size: int = 256
    key_dirs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Nic:
    """`id` is None only before `sanitised` has given one."""

    id: int | None = None
    network: str = ""
    bridge: str = ""
    model: str = ""
    mac: str = ""
    is_wireless: bool = False
    backend_domid: int = 0


@dataclass(frozen=True, slots=True)
class PciAddress:
    domain: int
    bus: int
    slot: int
    function: int

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function:x}"


@dataclass(frozen=True, slots=True)
class PciDevice:
    group: int  # devices of one group are given through one backend instance
    address: PciAddress
    bind: bool = False
    msitranslate: int | None = None
    power_mgmt: int | None = None
    guest_slot: int | None = None
    vdevfn: int | None = None


@dataclass(frozen=True, slots=True)
class CpuidMask:
    leaf: int
    subleaf: int | None
    masks: tuple[str | None, str | None, str | None, str | None]  # eax, ebx, ecx, edx


@dataclass(frozen=True, slots=True)
class Affinity:
    vcpu: int
    pcpus: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """I/O ports or byte addresses, both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Pair:
    """`K=V`; without `=` the value is empty and `has_value` false."""

    name: str
    value: str = ""
    has_value: bool = True

    def __str__(self) -> str:
        return f"{self.name}={self.value}" if self.has_value else self.name


@dataclass(frozen=True, slots=True)
class DomainConfig:
    """One VM as its monitor is told.  Field names are the keys with `_` for `-`; units are spelled out."""

    uuid: Uuid | None = None
    name: str | None = None
    startup: Startup = Startup()
    debug: bool = False
    output: str = ""
    no_mem_check: bool = False
    on_halt: Action = Action.DESTROY
    on_restart: Action = Action.RESTART
    on_crash: Action = Action.DESTROY
    hvm: bool = False
    virt_type: Kind | None = None
    hap: bool = True
    kernel: str = ""
    cmdline: str = ""
    initrd: str | None = None
    memory_kib: int | None = None
    memory_max_kib: int | None = None
    vcpus: int = 1
    pae: bool = False
    apic: bool = False
    acpi: bool = False
    nx: bool = False
    viridian: bool = False
    nested: bool = False
    smbios_pt: bool = False
    smbios_oem_types_pt: str = ""
    acpi_pt: bool = False
    diskinfo_pt: bool = False
    timer_mode: int | None = None
    hpet: int | None = None
    vpt_align: int | None = None
    time_offset: str = "0"
    xci_cpuid_signature: bool = False
    cores_per_socket: int | None = None
    cpuid: tuple[CpuidMask, ...] = ()
    cpus_affinity: tuple[Affinity, ...] = ()
    videoram_mib: int | None = None
    extra_maxmem: int = 0
    usb: bool = True
    sound: str | None = None
    vsnd: bool = False
    vkbd: bool = False
    vfb: bool = False
    v4v: bool = False
    boot: str = "cd"
    serial: str = ""
    display: Display = Display()
    extra_hvm: tuple[Pair, ...] = ()
    platform: tuple[Pair, ...] = ()
    bios_string: tuple[Pair, ...] = ()
    power_management: int = 0
    oem_features: int = 0
    inject_sci: int = 0
    disk: tuple[Disk, ...] = ()
    nic: tuple[Nic, ...] = ()
    pci: tuple[PciDevice, ...] = ()
    pci_msitranslate: int = 1
    pci_power_management: int = 1
    pci_script: str | None = None
    passthrough_io: tuple[Span, ...] = ()
    passthrough_mmio: tuple[Span, ...] = ()
    cdrom_pt: str | None = None
    flask_label: str | None = None
    notify: NotifyTo | None = None
    extra_local_watch: tuple[str, ...] = ()
    extra_vm_watch: tuple[str, ...] = ()
    qemu_pv: bool = True
    qemu_dm_path: str = ""
    qemu_dm_timeout_s: int = 30
    stubdom: Uuid | None = None
    stubdom_memory_kib: int = 64 * 1024
    stubdom_kernel: str = "/usr/lib/xen/boot/stubdomain-bzImage"
    stubdom_initrd: str = "/usr/lib/xen/boot/stubdomain-initramfs"
    stubdom_cmdline: str = "init=/init xen_blkfront.max=8"
    vtpm_instance: int | None = None
    vtpm_backend: int = 0
    xci_service: bool = False
    disable_migrate: bool = False

    @property
    def kind(self) -> Kind:
        """Virtualisation type: `virt-type` overrides `hvm`."""
        if self.virt_type is not None:
            return self.virt_type
        return Kind.HVM if self.hvm else Kind.PV

    @property
    def static_max_kib(self) -> int | None:
        return self.memory_kib if self.memory_max_kib is None else self.memory_max_kib

    @property
    def model_options(self) -> tuple[Pair, ...]:
        """What is told to the device model beside its devices: `extra-hvm`, after the CD drive's own key."""
        own = () if self.cdrom_pt is None else (Pair("cdrom-pt", self.cdrom_pt),)
        return (*own, *self.extra_hvm)

    @property
    def wants_device_model(self) -> bool:
        return bool(self.qemu_dm_path) and (self.kind is Kind.HVM or self.qemu_pv)


EMPTY = DomainConfig(startup=Startup(StartupMode.SHUTDOWN))
"""What a monitor knows that was given a uuid and no file."""
