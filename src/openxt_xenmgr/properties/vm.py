# SPDX-License-Identifier: GPL-2.0-or-later
"""The stored properties of a VM: keys below `/vm/<uuid>`, defaults, allowed words.  Rows, nothing else.

Both com.citrix.xenclient.xenmgr.vm and ….vm.unrestricted are these rows: the former refuses to write a
guarded one when policy says so; the last two rows are on the latter only.  Source: OpenXT xenmgr, 2015.
"""

from openxt_xenmgr.properties import forms
from openxt_xenmgr.properties.table import (
    Effect,
    Joined,
    Stored,
    is_empty,
    is_not_positive,
)
from openxt_xenmgr.vm.tree import Tree, flag, number, text

QEMU_DM_WRAPPER = "/opt/xensource/libexec/qemu-dm-wrapper"
USER_VM = "svm"
USER_VM_WORDS = frozenset({"svm", "pvm"})
S_MODES = ("pv", "ignore", "restart", "snapshot")
HDX = "hdx"
MAX_VCPUS = 512  # of a PV domain, which may have the most
MAX_MEMORY_MIB = 16 * 1024 * 1024  # what Xen can give one domain
MAX_NODE_TEXT = 512  # characters of what stands in XenStore, where a message holds 4096 bytes


def _native(tree: Tree) -> bool:
    return flag(tree, "native-experience")


def _or_native(tree: Tree, value: bool) -> bool:
    return value or _native(tree)


def _not_native(tree: Tree, value: bool) -> bool:
    return value and not _native(tree)


def _type(_tree: Tree, value: str) -> str:
    return USER_VM if value in USER_VM_WORDS else value


def _gpu(tree: Tree, value: str) -> str:
    return HDX if _native(tree) and flag(tree, "pv-addons-installed") else value


def _memory(tree: Tree) -> int:
    return number(tree, "config/memory")


def _shutdown_priority(tree: Tree) -> int:
    return -10 if _gpu(tree, text(tree, "gpu")) == HDX else 0


IDENTITY = (
    #      name                   key                      default
    Stored("type",                "type",                  USER_VM, shown=_type, form=forms.VM_TYPE,
           most=MAX_NODE_TEXT),
    Stored("name",                "name",                  stripped=True, effect=Effect.NAME,
           most=MAX_NODE_TEXT),
    Stored("description",         "description"),
    Stored("image-path",          "image_path",            stripped=True, effect=Effect.SWITCHER,
           most=MAX_NODE_TEXT),
    Stored("os",                  "os",                    "unknown",
           words=("linux", "windows", "windows8", "unknown")),
    Stored("slot",                "slot",                  0, least=-1),
    Stored("seamless-id",         "seamless-id",           most=MAX_NODE_TEXT),
    Stored("hidden-in-switcher",  "hidden",                False, effect=Effect.SWITCHER),
    Stored("hidden-in-ui",        "hidden-in-ui",          False),
    Stored("show-switcher",       "show-switcher",         True, shown=_not_native),
    Stored("native-experience",   "native-experience",     False),
    Stored("realm",               "realm"),
    Stored("sync-uuid",           "sync-uuid"),
    Stored("icbinn-path",         "icbinn-path"),
    Stored("ready",               "ready",                 True),
    Stored("download-progress",   "download-progress",     0, always=True, effect=Effect.TRANSFER),
    Stored("pv-addons",           "pv-addons-installed",   False),
    Stored("pv-addons-version",   "pv-addons-version"),
    Stored("portica-installed",   "portica-installed",     False),
)  # fmt: skip

POWER = (
    Stored("start-on-boot",            "start_on_boot",             False, shown=_or_native),
    Stored("start-on-boot-priority",   "start_on_boot_priority",    0),
    Stored("start-from-suspend-image", "start-from-suspend-image"),
    Stored("shutdown-priority",        "shutdown-priority",         _shutdown_priority, kind="i"),
    Stored("keep-alive",               "keep-alive",                False),
    Stored("hibernated",               "hibernated",                False),
    Stored("track-dependencies",       "track-dependencies",        True),
    Stored("control-platform-power-state", "control-platform-power-state", False, shown=_or_native),
    Stored("auto-s3-wake",             "auto-s3-wake",              False),
    Stored("s3-mode",                  "s3-mode",                   "pv", words=S_MODES),
    Stored("s4-mode",                  "s4-mode",                   "pv", words=S_MODES),
    Stored("preserve-on-reboot",       "preserve-on-reboot",        False),
    Stored("boot-sentinel",            "boot-sentinel",             unset=is_empty, form=forms.STORE_NODE,
           most=MAX_NODE_TEXT),
    Stored("run-post-create",          "run-post-create",           unset=is_empty),
    Stored("run-pre-delete",           "run-pre-delete",            unset=is_empty),
    Stored("run-pre-boot",             "run-pre-boot",              unset=is_empty),
    Stored("run-insteadof-start",      "run-insteadof-start",       unset=is_empty),
    Stored("run-on-state-change",      "run-on-state-change",       unset=is_empty),
    Stored("run-on-acpi-state-change", "run-on-acpi-state-change",  unset=is_empty),
    Stored("measured",                 "measured",                  False),
    Stored("qemu-dm-timeout",          "config/qemu-dm-timeout",    30, least=1, unit="s"),
    Stored("ovf-transport-iso",        "ovf-transport-iso",         False),
)  # fmt: skip

PLATFORM = (
    Stored("memory",              "config/memory",            0, least=0, most=MAX_MEMORY_MIB, unit="MiB"),
    Stored("memory-min",          "config/memory-min",        _memory, kind="i", unset=is_not_positive,
           least=0, most=MAX_MEMORY_MIB, unit="MiB"),
    Stored("memory-static-max",   "config/memory-static-max", _memory, kind="i", unset=is_not_positive,
           least=0, most=MAX_MEMORY_MIB, unit="MiB"),
    Stored("vcpus",               "config/vcpus",             1, least=1, most=MAX_VCPUS),
    Stored("cores-per-socket",    "config/cores-per-socket",  0, least=0),
    Stored("hvm",                 "config/hvm",               False),
    Stored("pae",                 "config/pae",               False),
    Stored("apic",                "config/apic",              False),
    Stored("viridian",            "config/viridian",          False),
    Stored("nx",                  "config/nx",                False),
    Stored("hap",                 "config/hap",               False),
    Stored("hpet",                "config/hpet",              True),
    Stored("timer-mode",          "config/timer-mode",        1, least=0, most=3),
    Stored("nestedhvm",           "config/nestedhvm",         False),
    Stored("cpuid",               "cpuid",                    form=forms.CPUID),
    Stored("xci-cpuid-signature", "xci-cpuid-signature",      False),
    Stored("acpi-pt",             "config/acpi-pt",           False),
    Stored("smbios-pt",           "config/smbios-pt",         False),
    Stored("oem-acpi-features",   "oem-acpi-features",        False),
    Stored("time-offset",         "time-offset",              0, unit="s"),
    Stored("boot",                "config/boot",              form=forms.BOOT_ORDER),
    Stored("cmd-line",            "config/cmdline"),
    Stored("kernel",              "config/kernel"),
    Stored("kernel-extract",      "config/kernel-extract"),
    Stored("initrd",              "config/initrd"),
    Stored("initrd-extract",      "config/initrd-extract"),
    Stored("flask-label",         "config/flask-label"),
    Stored("qemu-dm-path",        "config/qemu-dm-path",      QEMU_DM_WRAPPER),
    Stored("stubdom",             "stubdom",                  False),
    Joined("extra-xenvm",         "config/extra-xenvm"),
    Joined("extra-hvm",           "config/extra-hvm"),
    Stored("notify",              "config/notify",            words=("", "dbus")),
    Stored("serial",              "config/serial"),
    Stored("passthrough-mmio",    "config/passthrough-mmio",  form=forms.SPAN),
    Stored("passthrough-io",      "config/passthrough-io",    form=forms.SPAN),
)  # fmt: skip

DEVICES = (
    Stored("gpu",                    "gpu",                       shown=_gpu, form=forms.GPU),
    Stored("display",                "config/display",            form=forms.DISPLAY),
    Stored("videoram",               "config/videoram",           0, least=0, unit="MiB"),
    Stored("restrict-display-depth", "restrict-display-depth",    False),
    Stored("restrict-display-res",   "restrict-display-res",      False),
    Stored("provides-graphics-fallback", "provides-graphics-fallback", False),
    Stored("sound",                  "config/sound"),
    Stored("vsnd",                   "config/vsnd",               False),
    Stored("vkbd",                   "config/vkbd",               False),
    Stored("vfb",                    "config/vfb",                False),
    Stored("v4v",                    "config/v4v",                False),
    Stored("usb-enabled",            "usb-enabled",               True),
    Stored("usb-auto-passthrough",   "usb-auto-passthrough",      True),
    Stored("usb-control",            "usb-control",               False, effect=Effect.PROXY_RULES),
    Stored("usb-grab-devices",       "usb-grab-devices",          False, shown=_or_native),
)  # fmt: skip

NETWORK_AND_POLICY = (
    Stored("wireless-control",         "wireless-control",        False, shown=_or_native),
    Stored("provides-network-backend", "provides-network-backend", False),
    Stored("provides-default-network-backend", "provides-default-network-backend", False),
    Stored("amt-pt",                   "amt-pt",                  False),
    Stored("greedy-pciback-bind",      "greedy-pciback-bind",     True),
    Stored("crypto-user",              "crypto-user",             unset=is_empty, form=forms.USER),
    Stored("crypto-key-dirs",          "crypto-key-dirs"),
    Stored("policy-modify-vm-settings", "policies/modify-vm-settings", True, always=True),
    Stored("policy-cd-access",         "policies/cd-access",      True, always=True),
    Stored("policy-cd-recording",      "policies/cd-rec",         True, always=True),
    Stored("policy-audio-access",      "policies/audio-access",   True, always=True),
    Stored("policy-audio-recording",   "policies/audio-rec",      True, always=True),
    Stored("policy-wired-networking",  "policies/wired-networking", True, always=True),
    Stored("policy-wireless-networking", "policies/wireless-networking", True, always=True),
    Stored("policy-print-screen",      "policies/print-screen-disallowed", True, inverted=True,
           effect=Effect.SILENT),
    Stored("domstore-read-access",     "domstore-read-access",    False, effect=Effect.PROXY_RULES),
    Stored("domstore-write-access",    "domstore-write-access",   False, effect=Effect.PROXY_RULES),
)  # fmt: skip

UNRESTRICTED_ONLY = (
    Stored("stubdom-memory",  "config/stubdom-memory",  128, least=1, most=MAX_MEMORY_MIB, unit="MiB"),
    Stored("stubdom-cmdline", "config/stubdom-cmdline"),
)  # fmt: skip

STORED: tuple[Stored | Joined, ...] = (
    *IDENTITY,
    *POWER,
    *PLATFORM,
    *DEVICES,
    *NETWORK_AND_POLICY,
    *UNRESTRICTED_ONLY,
)
STORED_BY_NAME = {row.name: row for row in STORED}
