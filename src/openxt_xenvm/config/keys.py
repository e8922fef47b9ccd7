# SPDX-License-Identifier: GPL-2.0-or-later
"""Every key of the config file: its field, its form, and whether `get` and `set` know it.  A table.

Source: OpenXT xenvm, 2015, and its documentation, whose differing spellings are accepted too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openxt_xenvm.config import lines, values
from openxt_xenvm.config.values import Form


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value; the last line wins."""

    name: str
    form: Form
    gettable: bool = True
    unit: str = ""  # ends the field's name

    @property
    def field(self) -> str:
        return self.name.replace("-", "_") + self.unit


@dataclass(frozen=True, slots=True)
class Listed:
    """One item a line; the lines add up."""

    name: str
    read: Callable[[str], Any]

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")


SCALARS = (
    #      key                     form                     get and set, unit
    Scalar("uuid",                 values.UUID,             gettable=False),
    Scalar("name",                 values.OPTIONAL_TEXT),
    Scalar("startup",              values.STARTUP,          gettable=False),
    Scalar("debug",                values.BOOL,             gettable=False),
    Scalar("output",               values.TEXT,             gettable=False),
    Scalar("no_mem_check",         values.BOOL,             gettable=False),
    Scalar("on_halt",              values.ACTION,           gettable=False),
    Scalar("on_restart",           values.ACTION,           gettable=False),
    Scalar("on_crash",             values.ACTION,           gettable=False),
    Scalar("hvm",                  values.BOOL),
    Scalar("virt-type",            values.KIND),
    Scalar("hap",                  values.BOOL),
    Scalar("kernel",               values.TEXT),
    Scalar("cmdline",              values.TEXT),
    Scalar("initrd",               values.OPTIONAL_TEXT),
    Scalar("memory",               values.MEMORY,           unit="_kib"),
    Scalar("memory-max",           values.OPTIONAL_MEMORY,  unit="_kib"),
    Scalar("vcpus",                values.VCPUS),
    Scalar("pae",                  values.BOOL),
    Scalar("apic",                 values.BOOL),
    Scalar("acpi",                 values.BOOL),
    Scalar("nx",                   values.BOOL),
    Scalar("viridian",             values.BOOL),
    Scalar("nested",               values.BOOL),
    Scalar("smbios-pt",            values.BOOL),
    Scalar("smbios-oem-types-pt",  values.TEXT),
    Scalar("acpi-pt",              values.BOOL),
    Scalar("diskinfo-pt",          values.BOOL),
    Scalar("timer-mode",           values.OPTIONAL_NATURAL),
    Scalar("hpet",                 values.OPTIONAL_NATURAL),
    Scalar("vpt-align",            values.OPTIONAL_NATURAL),
    Scalar("time-offset",          values.TEXT),
    Scalar("xci-cpuid-signature",  values.BOOL),
    Scalar("cores-per-socket",     values.OPTIONAL_NATURAL),
    Scalar("videoram",             values.OPTIONAL_NATURAL, unit="_mib"),
    Scalar("extra-maxmem",         values.INT),
    Scalar("usb",                  values.BOOL),
    Scalar("sound",                values.OPTIONAL_TEXT),
    Scalar("vsnd",                 values.BOOL),
    Scalar("vkbd",                 values.BOOL),
    Scalar("vfb",                  values.BOOL),
    Scalar("v4v",                  values.BOOL),
    Scalar("boot",                 values.TEXT),
    Scalar("serial",               values.TEXT),
    Scalar("display",              values.DISPLAY),
    Scalar("power-management",     values.NATURAL),
    Scalar("oem-features",         values.INT),
    Scalar("inject-sci",           values.INT),
    Scalar("pci-msitranslate",     values.NATURAL),
    Scalar("pci-power-management", values.NATURAL),
    Scalar("pci-script",           values.OPTIONAL_TEXT),
    Scalar("cdrom-pt",             values.OPTIONAL_TEXT),
    Scalar("flask-label",          values.OPTIONAL_TEXT),
    Scalar("notify",               values.NOTIFY),
    Scalar("qemu-pv",              values.BOOL),
    Scalar("qemu-dm-path",         values.TEXT),
    Scalar("qemu-dm-timeout",      values.NATURAL,          unit="_s"),
    Scalar("stubdom",              values.OPTIONAL_UUID),
    Scalar("stubdom-memory",       values.MEMORY,           unit="_kib"),
    Scalar("stubdom-kernel",       values.TEXT),
    Scalar("stubdom-initrd",       values.TEXT),
    Scalar("stubdom-cmdline",      values.TEXT),
    Scalar("vtpm-instance",        values.OPTIONAL_NATURAL),
    Scalar("vtpm-backend",         values.NATURAL),
    Scalar("xci-service",          values.BOOL),
    Scalar("disable-migrate",      values.BOOL),
)  # fmt: skip

LISTS = (
    #      key                  one line
    Listed("cpuid",             lines.read_cpuid),
    Listed("cpus-affinity",     lines.read_affinity),
    Listed("extra-hvm",         lines.read_option),
    Listed("platform",          lines.read_pair),
    Listed("bios-string",       lines.read_pair),
    Listed("disk",              lines.read_disk),
    Listed("nic",               lines.read_nic),
    Listed("pci",               lines.read_pci),
    Listed("passthrough-io",    lines.read_ports),
    Listed("passthrough-mmio",  lines.read_span),
    Listed("extra-local-watch", lines.read_node),
    Listed("extra-vm-watch",    lines.read_node),
)  # fmt: skip

ALIASES = {
    "vif": "nic",
    "on_reboot": "on_restart",
    "timeoffset": "time-offset",
    "smbios-oem-type-pt": "smbios-oem-types-pt",
}
"""Other spellings, most of them the documentation's."""

SCALAR_BY_NAME = {row.name: row for row in SCALARS}
LIST_BY_NAME = {row.name: row for row in LISTS}
