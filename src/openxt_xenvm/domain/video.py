# SPDX-License-Identifier: GPL-2.0-or-later
"""The emulated graphics card of a guest, and how much of the guest's memory is its own.  Pure."""

import enum

from openxt_xen.hypervisor import Kind
from openxt_xenvm.config.model import DomainConfig, Screen


class Vga(enum.StrEnum):
    """QEMU's names."""

    NONE = ""
    CIRRUS = "cirrus-vga"
    STD = "VGA"


DEFAULT_MIB = {Vga.NONE: 0, Vga.CIRRUS: 8, Vga.STD: 16}


def vga_of(config: DomainConfig) -> Vga:
    """`std-vga` asks for a card even where nobody looks at it: other daemons may."""
    if any(option.name == "std-vga" for option in config.model_options):
        return Vga.STD
    return Vga.CIRRUS if config.display.screen is Screen.VNC else Vga.NONE


def video_mib(config: DomainConfig) -> int:
    """Video memory, which is part of the guest's.  A card has some even if the config is silent."""
    if config.kind is not Kind.HVM or not config.wants_device_model:
        return config.videoram_mib or 0
    return config.videoram_mib or DEFAULT_MIB[vga_of(config)]
