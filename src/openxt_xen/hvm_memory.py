# SPDX-License-Identifier: GPL-2.0-or-later
"""Where an HVM guest's memory lies, as its firmware is told.  Pure: sizes in, regions out.

Source: xen/arch-x86/hvm/start_info.h, and libxl (4.17) for the figures.
"""

from openxt_xen.pvh_tables import FOUR_GIB, PAGE_SIZE, Layout, Region, RegionKind

HOLE_START = 0xF000_0000  # RAM that would lie from here to 4 GiB goes above 4 GiB: room for PCI devices
LOW_START = 0x10_0000  # below that hvmloader decides
VGA_HOLE_PAGES = 0x20  # 0xA0000 … 0xBFFFF holds no RAM


def memory_map(layout: Layout, acpi: tuple[int, int] = (0, 0)) -> tuple[Region, ...]:
    """`acpi`: address and length of a table that was put into the guest, or zeros."""
    address, length = acpi
    regions = [Region(LOW_START, layout.low_end - LOW_START, RegionKind.RAM)]
    if address:
        start = address // PAGE_SIZE * PAGE_SIZE
        regions.append(Region(start, address + length - start, RegionKind.ACPI))
    if layout.high_end:
        regions.append(Region(FOUR_GIB, layout.high_end - FOUR_GIB, RegionKind.RAM))
    return tuple(regions)
