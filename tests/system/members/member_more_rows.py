# SPDX-License-Identifier: GPL-2.0-or-later
"""A row for each property of the host, its settings, a disk and a network card.

The host is the one of `member_machine`; the disk has a vhd image, the card is the VM's first.
"""

from collections.abc import Mapping
from unittest.mock import ANY

from member_machine import IMAGE_BYTES, IMAGE_MB, MEMORY_MIB
from member_rows import Barred, Kept, Row, Seen, Told, View, same

from openxt_core.ids import DOM0_UUID

LINE = ("a\nb", "a\rb")

CONFIG_TABLE: Mapping[str, Row] = {
    "iso-path":                 Kept("xenmgr/isos", "/storage/isos", "/isos", ("", "isos", *LINE)),
    "autostart":                Kept("xenmgr/autostart", True, False),
    "pvm-autostart-delay":      Kept("xenmgr/pvm-autostart-delay", 0, 5, (-1,)),
    "svm-autostart-delay":      Kept("xenmgr/svm-autostart-delay", 0, 5, (-1,)),
    "v4v-hosts-file":           Kept("xenmgr/v4v-hosts-file", True, False),
    "use-networking-domain":    same(True),
    "bypass-sha1sum-checks":    Told("xenmgr/bypass-sha1sum-checks", False, "true", True),
    "xc-diag-timeout":          Kept("xenmgr/xc-diag-timeout", 180, 10, (-1,)),
    "platform-crypto-key-dirs": Kept("xenmgr/platform-crypto-key-dirs",
                                     "/config/platform-crypto-keys", "/keys,/more", LINE),
    "guest-only-networking":    Told("xenmgr/guest-only-networking", False, "true", True),
    "vm-creation-allowed":      Kept("vm-create-disallowed", True, False, stored="true"),
    "vm-deletion-allowed":      Kept("vm-delete-disallowed", True, False, stored="true"),
    "ota-upgrades-allowed":     Kept("ota-upgrades-disallowed", True, False, stored="true"),
    "connect-remote-desktop-allowed": Kept("xenmgr/uiConnectRemoteDesktopAllowed", True, False),
    "measure-fail-action":      Kept("xenmgr/measure-fail-action", "forced-shutdown", "sleep", ("", "cry")),
    "v4v-firewall":             Kept("xenmgr/v4v-firewall", True, False),
    "secondary-gpu-pt":         same(True),
    "configurable-save-changes-across-reboots": same(False),
    "enable-ssh":               View(False, True),
    "enable-v4v-ssh":           View(True, False),
    "enable-dom0-networking":   View(True, False),
    "dom0-mem-target-mib":      Kept("dom0-mem-target-mib", 256, 512, (-1,)),
    "autolock-cd-drives":       Kept("xenmgr/autolock-cd-drives", True, False),
}  # fmt: skip

UI_TABLE: Mapping[str, Row] = {
    "show-msg-on-vm-start":     Kept("xenmgr/showMsgOnVmStart", True, False),
    "show-msg-on-vm-start-tools-warning": Kept("xenmgr/showMsgOnVmStartToolsWarning", True, False),
    "show-msg-on-no-disk":      Kept("xenmgr/showMsgOnNoDisk", True, False),
    "show-mboot-warning":       Kept("xenmgr/showMbootWarning", True, False),
    "show-tools-warning":       Kept("xenmgr/showToolsWarning", True, False),
    "wallpaper":                Kept("xenmgr/wallpaper", "images/wallpapers/s9.png", "mine.png", LINE),
    "pointer-trail-timeout":    Kept("xenmgr/pointerTrailTimeout", 0, 1500, (-1,), stored="1.5"),
    "view-type":                Kept("xenmgr/viewType", "", "list", LINE),
    "modify-settings":          Kept("xenmgr/uiModifySettings", True, False),
    "modify-services":          Kept("xenmgr/uiModifyServices", True, False),
    "modify-advanced-vm-settings": Kept("xenmgr/uiModifyAdvancedVmSettings", True, False),
    "modify-usb-settings":      Kept("xenmgr/uiModifyUsbSettings", True, False),
    "switcher-enabled":         Kept("switcher/enabled", True, False),
    "switcher-self-switch-enabled": Kept("switcher/self-switch-disabled", False, True, stored="false"),
    "switcher-keyboard-follows-mouse": Kept("switcher/keyboard_follows_mouse", False, True),
    "switcher-resistance":      Kept("switcher/resistance", 10, 3),
    "switcher-status-report-enabled": Kept("switcher/status-report-enabled", True, False),
    "idle-time-threshold":      Kept("xenmgr/idle-time-threshold", 0, 600, (-1,)),
    "language":                 View("en-us", "de-de", ("", "tlh")),
    "supported-languages":      same(["en-us", "de-de"]),
    "drm-graphics":             View(False, True),
}  # fmt: skip

HOST_TABLE: Mapping[str, Row] = {
    "state":                    same("idle"),
    "total-mem":                Seen(lambda mib: mib >= MEMORY_MIB),
    "free-mem":                 Seen(lambda mib: 0 < mib <= MEMORY_MIB * 2),
    "avail-mem":                Seen(lambda mib: 0 < mib <= MEMORY_MIB * 2),
    "total-storage":            Seen(lambda mib: mib > 0),
    "free-storage":             Seen(lambda mib: mib >= 0),
    "system-amt-pt":            Told("system-amt-pt-active", False, "true", True),
    "cpu-count":                Seen(lambda cpus: cpus > 0),
    "laptop":                   same(True),
    "model":                    same("the system-product-name"),
    "vendor":                   same("the system-manufacturer"),
    "serial":                   same("the system-serial-number"),
    "bios-revision":            same("the bios-version"),
    "amt-capable":              same(True),
    "eth0-mac":                 same("00:16:3e:00:00:01"),
    "eth0-model":               Seen(lambda name: "8086" in name),
    "wireless-mac":             same("00:16:3e:00:00:02"),
    "wireless-model":           Seen(lambda name: "8086" in name),
    "physical-cpu-model":       Seen(lambda name: isinstance(name, str)),
    "physical-gpu-model":       same("Intel HD Graphics"),
    "safe-graphics":            same(True),
    "measured-boot-enabled":    same(True),
    "measured-boot-successful": same(False),
    "is-licensed":              same(True),
    "build-info":               Seen(lambda info: (info["version"], info["edition"]) == ("9", "default")),
    "ui-ready":                 View(False, True),
    "playback-pcm":             Kept("audio/playback-pcm", "00-00", "01-03", ("", "1-3", *LINE)),
    "capture-pcm":              Kept("audio/capture-pcm", "00-00", "01-03", ("", "1-3", *LINE)),
}  # fmt: skip

DISK_TABLE: Mapping[str, Row] = {
    "backend-uuid":         Barred("", "x", "cannot be set"),
    "backend-name":         Barred("", "x", "cannot be set"),
    "phys-path":            Kept("path", ANY, "/storage/disks/other.vhd", ("/a:b", *LINE)),
    "phys-type":            Kept("type", "vhd", "phy", ("", "zip")),
    "virt-path":            Kept("device", "hda", "xvdb", ("xvd:b", "a b", *LINE)),
    "mode":                 Kept("mode", "w", "r", ("", "rw")),
    "devtype":              Kept("devtype", "disk", "cdrom", ("", "tape")),
    "snapshot":             Kept("snapshot", "none", "temporary", ("", "often")),
    "shared":               Kept("shared", False, True),
    "managed-disktype":     Kept("managed-disktype", "", "user", ("other",)),
    "enabled":              Kept("enable", True, False),
    "encryption-key-set":   same(False),
    "virtual-size-mb":      same(IMAGE_MB),
    "utilization-bytes":    same(IMAGE_BYTES),
}  # fmt: skip

NIC_TABLE: Mapping[str, Row] = {
    "backend-uuid":     Kept("backend-uuid", DOM0_UUID, "00000000-0000-0000-0000-000000000002", ("x", *LINE)),
    "backend-name":     Kept("backend-name", "", "Network", ("a,b", *LINE)),
    "network":          Kept("network", "/wired/0/bridged", "/wired/1/shared", ("a,b", "a b", *LINE)),
    "wireless-driver":  Kept("wireless-driver", False, True),
    "mac":              Kept("mac", "auto", "00:16:3e:12:34:56", ("x", "00:16:3e:12:34", *LINE)),
    "mac-actual":       Seen(lambda mac: mac.count(":") == 5),
    "enabled":          Kept("enable", True, False),
}  # fmt: skip
