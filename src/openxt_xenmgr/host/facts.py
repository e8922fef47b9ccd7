# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts of the machine from its files: build, capabilities, language, processor, storage, drives.

Every one has a sensible answer on a machine that lacks the file.
"""

import os
from functools import cache
from pathlib import Path

from openxt_core.places import Places
from openxt_xenmgr.host.pci import inventory
from openxt_xenmgr.host.programs import output_of
from openxt_xenmgr.vm.templates import flavour_of

MIB = 1024 * 1024
AMT_CLASSES = (0x0780, 0x0700)
BUILD_KEYS = {"build_branch": "branch", "build_date": "build_date_time"}
BUILD_FIELDS = ("version", "build", "branch", "build_date_time", "tools", "release")


def read_text(path: Path) -> str:
    """The file's text; empty when it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def settings(content: str) -> dict[str, str]:
    """`key = value` lines."""
    pairs = (line.partition("=") for line in content.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def build_information(places: Places) -> dict[str, str]:
    """Always with all its fields, empty where nothing is known."""
    found = settings(read_text(places.xenclient_conf))
    named = {BUILD_KEYS.get(key, key): value for key, value in found.items()}
    info = {field: named.get(field, "") for field in BUILD_FIELDS}
    return {**info, "edition": flavour_of(places)}


def capability(places: Places, name: str) -> str:
    """A word of `/etc/caps.<flavour>`; empty when the file or the line is missing."""
    return _capabilities(places).get(name, "")


@cache
def _capabilities(places: Places) -> dict[str, str]:
    """Read once: what a host can do does not change while it runs."""
    return settings(read_text(places.at(f"/etc/caps.{flavour_of(places)}")).lower())


def language(places: Places) -> str:
    found = settings(read_text(places.at("/config/language.conf"))).get("LANGUAGE", "")
    return found.strip("'\"") or "en-us"


def supported_languages(places: Places) -> list[str]:
    return capability(places, "supported-languages").split() or ["en-us"]


def storage_mib(places: Places) -> tuple[int, int]:
    """Total and free MiB of /storage; zeros when it is not there."""
    try:
        info = os.statvfs(places.storage)
    except OSError:
        return 0, 0
    return info.f_blocks * info.f_frsize // MIB, info.f_bavail * info.f_frsize // MIB


def mac_of(places: Places, interface: str) -> str:
    return read_text(places.at(f"/sys/class/net/{interface}/address")).strip()


@cache
def cpu_model() -> str:
    """The processor's own name for itself."""
    lines = read_text(Path("/proc/cpuinfo")).splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def kernel_words(places: Places) -> str:
    return read_text(places.at("/proc/cmdline")) or read_text(Path("/proc/cmdline"))


def mounts(places: Places) -> str:
    """The table of what is mounted."""
    return read_text(places.at("/proc/mounts")) or read_text(Path("/proc/mounts"))


def is_mount_point_named(fragment: str) -> bool:
    """True when some mount's line holds `fragment`."""
    return any(fragment in line.split() for line in read_text(Path("/proc/mounts")).splitlines())


_dmi: dict[str, str] = {}  # the board does not change while the daemon runs


async def dmi(key: str) -> str:
    """What `dmidecode -s KEY` prints, asked once; empty where there is no such program or table."""
    if key not in _dmi:
        _dmi[key] = await _dmi_now(key)
    return _dmi[key]


async def _dmi_now(key: str) -> str:
    lines = (await output_of("dmidecode", "-s", key)).splitlines()
    kept = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return kept[0] if kept else ""


# PCI devices


def pci_model(places: Places, pci_class: int) -> str:
    """Name of the first device of a class; empty when there is none."""
    return next((device.name for device in inventory(places) if device.pci_class == pci_class), "")


def has_amt(places: Places) -> bool:
    """Legacy: an Intel management controller or its serial port."""
    return any(device.vendor == 0x8086 and device.pci_class in AMT_CLASSES for device in inventory(places))
