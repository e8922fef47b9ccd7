# SPDX-License-Identifier: GPL-2.0-or-later
"""Lay out the memory of an HVM guest through libxenguest: hvmloader, its BIOS, firmware tables, rings.

The domain exists already, with its vcpus, limits, event channels and cpuid policy; its device model comes
afterwards.  The order of calls, and where things lie, are libxl's (4.17).
"""

import errno
from pathlib import Path
from typing import Any

from openxt_core.ids import Domid
from openxt_xen.hvm_memory import HOLE_START, VGA_HOLE_PAGES, memory_map
from openxt_xen.hypervisor import HvmBuilt, HvmImageSpec, ImageSpec, Rings, XenError
from openxt_xen.libxc_calls import Calls
from openxt_xen.libxc_image import allocate, finish, load_files, new_image, set_memory_map
from openxt_xen.libxc_records import KIB_PER_PAGE
from openxt_xen.pvh_tables import FOUR_GIB, memory_layout


def build_hvm(calls: Calls, domid: Domid, spec: HvmImageSpec) -> HvmBuilt:
    """Build an HVM guest.  Raises XenError with the builder's own words."""
    plain = ImageSpec(
        spec.loader,
        spec.memory_kib,
        spec.max_vcpus,
        store_port=spec.store_port,
        console_port=spec.console_port,
    )
    firmware = _contents(spec.firmware)
    with new_image(calls, plain) as image:
        image.container_type = calls.lib.XC_DOM_HVM_CONTAINER
        load_files(calls, image, plain)
        # `buffers` are C memory that `image` points into: they live until the image is written.
        buffers = _set_modules(calls, image, firmware, spec)
        _set_layout(image, spec)
        allocate(calls, image, domid, plain)
        regions = memory_map(memory_layout(spec.memory_kib, HOLE_START), _where(image.acpi_modules[0]))
        buffers.append(set_memory_map(calls, image, domid, regions))
        finish(calls, image)
        calls.number("openxt_hvm_info", calls.handle, domid, spec.apic, spec.max_vcpus)
        del buffers
        return HvmBuilt(
            Rings(store=image.xenstore_pfn, console=image.console_pfn),
            *_where(image.acpi_modules[0]),
            *_where(image.smbios_module),
        )


def _contents(firmware: str) -> bytes:
    try:
        return Path(firmware).read_bytes()
    except OSError as error:
        raise XenError("build_hvm", error.errno or errno.EIO, f"firmware {firmware}") from error


def _set_modules(calls: Calls, image: Any, firmware: bytes, spec: HvmImageSpec) -> list[Any]:
    """Hand over BIOS and tables.  Returns C memory to keep alive: the builder copies, and frees nothing."""
    given = (
        (image.system_firmware_module, firmware),
        (image.acpi_modules[0], spec.acpi_table),
        (image.smbios_module, spec.smbios),
    )
    kept = []
    for module, data in given:
        if data:
            kept.append(calls.ffi.new("uint8_t[]", data))
            module.data, module.length = kept[-1], len(data)
    return kept


def _set_layout(image: Any, spec: HvmImageSpec) -> None:
    layout = memory_layout(spec.memory_kib, HOLE_START)
    image.target_pages = spec.target_kib // KIB_PER_PAGE
    image.mmio_start = HOLE_START
    image.mmio_size = FOUR_GIB - HOLE_START
    image.lowmem_end = layout.low_end
    image.highmem_end = layout.high_end
    image.vga_hole_size = VGA_HOLE_PAGES
    image.device_model = True


def _where(module: Any) -> tuple[int, int]:
    """Address and length of a table in the guest; (0, 0) of one that was not given."""
    return int(module.guest_addr_out), int(module.length)
