# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine of these tests: files below the host's root, and programs that note what they are asked."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from xenmgr_house import XENMGR, Desk

MEMORY_MIB = 4096
IMAGE_MB = 80
IMAGE_BYTES = 12345
DRIVE = "1:0:2:0"
GPU = "0000:01:00.0"
CARD = "0000:00:19.0"
SECOND_GPU = "0000:05:00.0"

# What each program does, besides writing its arguments to the log.  `{folder}/broken` makes some fail.
PROGRAMS: Mapping[str, str] = {
    "amixer": "cat {folder}/amixer.out",
    "dmidecode": '[ "$2" = chassis-type ] && echo Notebook || echo "the $2"',
    "hvm-info": "[ ! -e {folder}/broken ] && echo hvm_directio is enabled",
    "eject": "[ ! -e {folder}/broken ]",
    "lspci": 'echo "00:02.0 VGA compatible controller [0300]: Intel HD Graphics"',
    "mount": "[ ! -e {folder}/broken ]",
    "status-tool": "[ ! -e {folder}/broken ] && echo /tmp/report.tgz",
    "tap-ctl": '[ "$1" != create ] || echo /dev/tap7',
    "umount": "[ ! -e {folder}/broken ]",
    "update-pcm-config": ":",
    "vhd-util": 'case "$1$2$4" in create-s-n) [ ! -e {folder}/broken ] && : > "$5" ;; '
    f"query-v*) echo {IMAGE_MB} ;; query-s*) echo {IMAGE_BYTES} ;; "
    "*-p) [ ! -e {folder}/keyed ] && echo none || echo 01 ;; esac",
}
# What waits long for those that do not answer, waits shortly.
IMPATIENCE: Mapping[str, str] = {
    "XENVM_ACKNOWLEDGE_S": "3",
    "XENVM_SHUTDOWN_S": "4",
    "XENMGR_NETWORKS_S": "2",
    "XENMGR_ANSWER_S": "3",
    "XENMGR_AGENT_ANSWER_S": "3",
    "XENMGR_AGENT_S": "3",
}
LEFT_BY_TESTS = ("log", "broken", "keyed", "viptables", "table", "fail")
OUTPUTS = {
    "amixer.out": """Simple mixer control 'Master',0
  Capabilities: pvolume pswitch
  Front Left: Playback 40 [46%] [-35.25dB] [on]
""",
}

_DRM = """if [ "$1" = -g ]; then cat "$0.state" 2>/dev/null || echo false; else echo "$3" > "$0.state"; fi"""

# What lies below the host's root.  Those of `SCRIPTS` can be run.
SCRIPTS: Mapping[str, str] = {
    "/etc/init.d/sshd": ":",
    "/etc/init.d/sshd_v4v": ":",
    "/usr/share/xenclient/drm_graphics_option.sh": _DRM,
    "/usr/share/xenclient/enter-s3.sh": ":",
    "/sbin/poweroff": ":",
    "/sbin/reboot": ":",
}
FILES: Mapping[str, str] = {
    "/etc/caps.default": "secondary-gpu-pt = true\nsupported-languages = en-us de-de\n",
    "/etc/xenclient.conf": "version = 9\nbuild = 1\ntools = 1.2.3.4\n",
    "/proc/cmdline": "quiet safe-graphics",
    "/boot/system/tpm/enabled": "",
    "/sys/class/net/eth0/address": "00:16:3e:00:00:01\n",
    "/sys/class/net/wlan0/address": "00:16:3e:00:00:02\n",
    "/proc/asound/pcm": "00-00: Analog : Analog : playback 1 : capture 1\n"
    "01-03: HDMI 0 : HDMI 0 : playback 1\n",
    "/proc/asound/cards": " 0 [PCH            ]: HDA-Intel - HDA Intel PCH\n",
    "/proc/scsi/scsi": "Attached devices:\nHost: scsi1 Channel: 00 Id: 02 Lun: 00\n"
    "  Vendor: HL-DT-ST Model: DVDRAM Rev: LS00\n  Type:   CD-ROM ANSI  SCSI revision: 05\n",
    "/usr/lib/xui/a.png": "png",
    "/usr/lib/xui/plugins/menu/one.js": "",
    "/usr/share/xenclient/EULA-en-us": "a licence",
    "/storage/isos/debian.iso": "",
    "/storage/isos/null.iso": "",
}
FOLDERS = (f"/sys/class/block/sr0/device/scsi_device/{DRIVE}", "/sys/block/sda/device", "/mnt", "/keys")

# PCI devices: class, vendor, device, boot_vga.
PCI: Mapping[str, tuple[str, str, str, str]] = {
    "0000:00:02.0": ("0x030000", "0x8086", "0x0166", "1"),
    GPU: ("0x030000", "0x10de", "0x0ffc", "0"),
    "0000:00:16.0": ("0x078000", "0x8086", "0x1e3a", "0"),  # the management engine
    CARD: ("0x020000", "0x8086", "0x1502", "0"),
    "0000:03:00.0": ("0x028000", "0x8086", "0x0085", "0"),
    SECOND_GPU: ("0x038000", "0x8086", "0x2192", "0"),
}


def put(it: Desk, path: str, content: str, mode: int = 0o644) -> Path:
    file = it.places.at(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    file.chmod(mode)
    return file


def furnish(it: Desk) -> None:
    """Give the host its files."""
    for path, content in FILES.items():
        put(it, path, content)
    for path, does in SCRIPTS.items():
        put(it, path, f"#!/bin/sh\n{does}\n", 0o755)
    for path in FOLDERS:
        it.places.at(path).mkdir(parents=True, exist_ok=True)
    for address, numbers in PCI.items():
        for name, text in zip(("class", "vendor", "device", "boot_vga"), numbers, strict=True):
            put(it, f"/sys/bus/pci/devices/{address}/{name}", text)


async def restore(it: Desk, before: str) -> None:
    """The database as it was in this dump, and the stand-ins as they were made."""
    old, new = json.loads(before), json.loads(await it.db("dump", "/"))
    await _put_back(it, "", old, new)
    for name in LEFT_BY_TESTS:
        (it.stand_ins / name).unlink(missing_ok=True)
    for away in it.places.root.rglob("*.away"):
        away.rename(away.with_suffix(""))
    for key in it.places.at("/keys").iterdir():
        key.unlink()


async def _put_back(it: Desk, path: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    for name in old.keys() | new.keys():
        at, was = f"{path}/{name}", old.get(name)
        if was == new.get(name):
            continue
        if at in ("/vm", "/dom-store"):  # each VM is an object of its own there
            await _put_back(it, at, was or {}, new.get(name) or {})
        elif was is None:
            await it.db("rm", at)
        else:
            await it.db("inject", at, json.dumps(was))


async def tidy(it: Desk, before: str, vms: set[str]) -> None:
    """As `restore`; VMs beside these are gone, however they are."""
    for path in set(await it.root("list_vms")) - vms:
        await it.db("rm", f"/vm/{it.uuid(path)}/run-pre-delete")
        await it.vm(path, "destroy")
        await it.call("/", f"{XENMGR}.unrestricted", "unrestricted_delete_vm", "s", it.uuid(path))
    await restore(it, before)


@contextmanager
def programs(folder: Path) -> Iterator[None]:
    """Have the stand-ins found first, and daemons be impatient; the log is `folder`/log."""
    for name, content in OUTPUTS.items():
        (folder / name).write_text(content)
    for name, does in PROGRAMS.items():
        program = folder / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {folder}/log\n{does.format(folder=folder)}\n')
        program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        for name, value in IMPATIENCE.items():
            patch.setenv(name, value)
        yield
