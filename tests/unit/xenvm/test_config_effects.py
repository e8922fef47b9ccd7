# SPDX-License-Identifier: GPL-2.0-or-later
"""Every key of the config file has an effect that can be seen, or a reason why it has none.  A table."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from openxt_core.ids import Domid, Uuid
from openxt_xenvm.config.keys import LIST_BY_NAME, SCALAR_BY_NAME
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.config.parse import parse_config
from openxt_xenvm.devices import checks
from openxt_xenvm.dm import agent, qemu
from openxt_xenvm.domain import build, memory, nodes
from openxt_xenvm.domain.hardware import Firmware, Hardware
from openxt_xenvm.events import watched_nodes
from openxt_xenvm.fate import Fate, action_for
from openxt_xenvm.plan.plugging import plan_disks
from openxt_xenvm.plan.start import device_model, devices, passed, plan_start
from openxt_xenvm.plan.steps import CreateDomain
from openxt_xenvm.plan.stubdom import stub_config

UUID = Uuid("00000000-0000-0000-0000-000000000001")
DOMID = Domid(7)
SMBIOS = b"\x00\x04\0\0v\0\0" + b"\x80\x04\0\0\0\0" + b"\x81\x04\0\0\0\0"
HARDWARE = Hardware(Firmware("/loader", "/bios"), ("qemu",), acpi_table=b"SLIC", smbios=SMBIOS)
DIRECT = Hardware(Firmware("/loader", "/bios"), ("qemu",), is_direct=True)
PLACE = qemu.QemuPlace(DOMID, UUID, "n", Path("/s"))
DEVICES = frozenset(
    {"xenmou", "xen_acpi_pm", "xen_pci_pt", "xenfb", "input", "svga", "xengfx", "vgpu", "gfx"}
) | {*("acpi", "audio", "serial", "net", "drive", "cdrom")}

PV = ("memory = 64", "kernel = /k", "virt-type = pv")
HVM = ("memory = 64", "virt-type = hvm", "qemu-dm-path = /q", "display = none")


def command_line(config: DomainConfig) -> object:
    return qemu.command_line(config, PLACE, qemu.boot_of(config, DIRECT))


def label(config: DomainConfig) -> object:
    step = plan_start(config, UUID, HARDWARE)[0]
    assert isinstance(step, CreateDomain)
    return step.label


def asked_agents(config: DomainConfig) -> object:
    providers = [agent.Agent(Domid(0), None, {"qemu": DEVICES})]
    return agent.requests(config, providers, agent.Around(DOMID))


def gives(config: DomainConfig) -> object:
    """What of the config is for other parts than the domain's making; each reads just that field."""
    return (config.startup, config.debug, config.output, config.no_mem_check, config.notify, config.uuid)


LOOKS: dict[str, Callable[[DomainConfig], object]] = {
    "spec": lambda config: build.domain_spec(config, UUID),
    "label": label,
    "limits": build.limits,
    "processors": lambda config: build.processors(config, "GenuineIntel"),
    "image": build.image_spec,
    "hvm image": lambda config: build.hvm_image_spec(config, HARDWARE),
    "skeleton": lambda config: nodes.skeleton(config, UUID, DOMID),
    "built": lambda config: nodes.after_build(config, DOMID, 1, 2),
    "figures": lambda config: nodes.model_figures(config, DOMID),
    "command line": command_line,
    "agents": asked_agents,
    "model": lambda config: list(device_model(config, HARDWARE)) if config.wants_device_model else [],
    "devices": lambda config: [
        *devices(config),
        *plan_disks(config.disk, with_inquiries=config.diskinfo_pt),
        *config.nic,
        *passed(config),
    ],
    "watched": lambda config: watched_nodes(DOMID, UUID, config.extra_local_watch, config.extra_vm_watch)[1:],
    "memory": memory.required_to_boot_kib,
    "after halt": lambda config: action_for(Fate.HALTED, config),
    "after reboot": lambda config: action_for(Fate.REBOOTED, config),
    "after crash": lambda config: action_for(Fate.CRASHED, config),
    "refused": lambda config: [*build.not_built_yet(config), *checks.not_built_yet(config)],
    "warned": lambda config: [*build.without_effect(config), *qemu.without_effect(config)],
    "process": gives,
    "stub domain": lambda config: stub_config(config, DOMID),
}


@dataclass(frozen=True)
class Row:
    line: str
    look: str  # where the effect is seen
    base: tuple[str, ...] = HVM
    more: tuple[str, ...] = field(default=())  # what the line needs to matter

    @property
    def key(self) -> str:
        return self.line.partition("=")[0].strip()


MASK = "x" * 31 + "0"
ROWS = (
    Row("uuid = 00000000-0000-0000-0000-000000000002", "process"),
    Row("name = other", "skeleton"),
    Row("startup = paused", "process"),
    Row("debug = true", "process"),
    Row("output = log", "process"),
    Row("no_mem_check = true", "process"),
    Row("on_halt = restart", "after halt"),
    Row("on_restart = destroy", "after reboot"),
    Row("on_crash = preserve", "after crash"),
    Row("hvm = true", "spec", ("memory = 64",)),
    Row("virt-type = pvh", "spec"),
    Row("hap = false", "spec"),
    Row("kernel = /other", "image", PV),
    Row("cmdline = words", "image", PV),
    Row("initrd = /i", "image", PV),
    Row("memory = 96", "image", PV),
    Row("memory-max = 128", "hvm image"),
    Row("vcpus = 4", "spec"),
    Row("pae = true", "processors"),
    Row("apic = true", "hvm image"),
    Row("acpi = true", "skeleton"),
    Row("nx = true", "processors"),
    Row("viridian = true", "limits"),
    Row("nested = true", "processors"),
    Row("smbios-pt = true", "hvm image"),
    Row("smbios-oem-types-pt = 129", "hvm image", more=("smbios-pt = true",)),
    Row("acpi-pt = true", "hvm image"),
    Row("timer-mode = 2", "limits"),
    Row("hpet = 1", "limits"),
    Row("vpt-align = 1", "limits"),
    Row("time-offset = 3600", "skeleton"),
    Row("xci-cpuid-signature = true", "warned"),
    Row("cores-per-socket = 2", "processors"),
    Row(f"cpuid = 1:eax={MASK}", "processors"),
    Row("cpus-affinity = 0:1,2", "processors"),
    Row("videoram = 16", "built"),
    Row("sound = ac97", "command line"),
    Row("vsnd = true", "devices"),
    Row("vkbd = true", "devices"),
    Row("vfb = true", "devices"),
    Row("v4v = true", "devices"),
    Row("boot = d", "command line"),
    Row("serial = none", "command line"),
    Row("display = vnc:port=2", "command line"),
    Row("extra-hvm = std-vga", "command line"),
    Row("platform = a=b", "skeleton"),
    Row("bios-string = oem-1=b", "skeleton"),
    Row("power-management = 2", "figures"),
    Row("oem-features = 1", "figures"),
    Row("inject-sci = 1", "figures"),
    Row("disk = /d:file:hda:w:disk:", "devices"),
    Row("nic = mac=00:16:3e:00:00:01", "command line"),
    Row("pci = 0,bind,0000:00:10.0", "devices"),
    Row("pci-msitranslate = 0", "devices", more=("pci = 0,0000:00:10.0",)),
    Row("pci-power-management = 0", "devices", more=("pci = 0,0000:00:10.0",)),
    Row("passthrough-io = 0x3f8-0x3ff", "devices"),
    Row("passthrough-mmio = 0xfed00000-0xfed00fff", "devices"),
    Row("vtpm-instance = 1", "devices"),
    Row("diskinfo-pt = true", "devices", more=("disk = /dev/sda:phy:hda:w:disk:",)),
    Row("cdrom-pt = /dev/bsg/1:0:0:0", "warned"),
    Row("flask-label = a:b:c", "label"),
    Row("notify = dbus", "process"),
    Row("extra-local-watch = node", "watched"),
    Row("extra-vm-watch = node", "watched"),
    Row("qemu-pv = false", "model", PV, ("qemu-dm-path = /q",)),
    Row("qemu-dm-path = /q", "model", PV),
    Row("qemu-dm-timeout = 5", "model"),
    Row("stubdom = 00000000-0000-0000-0000-000000000009", "memory"),
    Row("stubdom-memory = 128", "memory", more=("stubdom = 00000000-0000-0000-0000-000000000009",)),
    Row("stubdom-kernel = /other", "stub domain"),
    Row("stubdom-initrd = /other", "stub domain"),
    Row("stubdom-cmdline = words", "stub domain"),
    Row("xci-service = true", "warned"),
    Row("disable-migrate = true", "processors"),
)

REASONS = {
    "extra-maxmem": "nobody reads it in the original either",
    "usb": "USB goes through another daemon, by v4v",
    "pci-script": "nobody reads it in the original either",
    "vtpm-backend": "the backend is always domain 0",
}
"""Keys that are read and change nothing, here or in the original."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_a_key_has_the_effect_that_is_told_of_it(row: Row) -> None:
    before = parse_config("\n".join([*row.base, *row.more]), UUID if row.key != "uuid" else None)
    after = parse_config("\n".join([*row.base, *row.more, row.line]), UUID if row.key != "uuid" else None)
    assert (before.errors, after.errors) == ((), ())
    look = LOOKS[row.look]
    assert look(before.config) != look(after.config)


def test_every_key_is_in_the_table() -> None:
    told = {row.key for row in ROWS} | REASONS.keys()
    assert told == SCALAR_BY_NAME.keys() | LIST_BY_NAME.keys()


@pytest.mark.parametrize("key", REASONS)
def test_a_key_without_effect_changes_nothing_that_can_be_seen(key: str) -> None:
    value = "true" if key == "usb" else "3"
    config = parse_config("\n".join(HVM), UUID).config
    changed = parse_config("\n".join([*HVM, f"{key} = {value}"]), UUID).config
    assert {
        name: look(config) == look(changed) for name, look in LOOKS.items() if name not in ("model",)
    } == dict.fromkeys((name for name in LOOKS if name not in ("model",)), True)
